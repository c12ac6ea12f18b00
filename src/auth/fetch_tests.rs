use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

fn fetcher(hosts: &[&str], private: bool) -> Fetcher {
    let fetch_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    Fetcher::new(&Auth {
        fetch_hosts,
        fetch_private: private,
        fetch_bytes: 1_000,
        fetch_timeout_ms: 2_000,
        ..Auth::default()
    })
}

/// A host on loopback that gives each request this answer; its port, and how many it was asked.
fn host(answer: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let _ = stream.write_all(&answer);
        }
    });
    (port, asked)
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn only_named_hosts_by_https() {
    let good = fetcher(&["keys.example.org", "*.example.com"], false);
    for address in [
        "https://keys.example.org/jwks",
        "https://KEYS.example.org:8443/a?b=c",
        "https://a.example.com",
        "https://a.b.example.com",
    ] {
        assert!(good.check(address).is_ok(), "{address}");
    }
    for other in [
        "https://example.com/",
        "https://xexample.com/",
        "https://keys.example.org.evil.org/",
        "https://evil.org/keys.example.org",
        "https://10.0.0.1/",
        "https://evil.org#.example.com/",
        "https://evil.org\\.example.com/",
        "https://[::1]/",
        "https://a.example.com./",
    ] {
        let error = good.check(other).expect_err(other);
        assert!(matches!(error, FetchError::Host(_) | FetchError::Address), "{other}");
    }
    for form in [
        "http://keys.example.org/",
        "ftp://keys.example.org/",
        "file:///etc/passwd",
        "https://me@keys.example.org/",
        "keys.example.org",
        "https://:x@keys.example.org/",
        "https://keys.example.org/#x",
        "",
        "https://",
    ] {
        assert_eq!(good.check(form).expect_err(form), FetchError::Address, "{form}");
    }
    assert!(matches!(fetcher(&[], true).check("https://keys.example.org/"), Err(FetchError::Host(_))));
    assert!(fetcher(&["*"], true).check("https://keys.example.org/").is_err(), "a star alone names no domain");
}

#[test]
fn addresses_that_are_not_public() {
    for private in [
        "127.0.0.1",
        "127.255.0.3",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.127.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "::ffff:0:8.8.8.8",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
        "2001::1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b:1::808:808",
        "3fff::1",
        "100::1",
    ] {
        assert!(!is_public(private.parse().unwrap()), "{private}");
    }
    for public in [
        "8.8.8.8",
        "1.1.1.1",
        "172.15.0.1",
        "172.32.0.1",
        "100.63.0.1",
        "100.128.0.1",
        "192.167.1.1",
        "2606:4700::1111",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2001:200::1",
    ] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
}

/// All the ways to write loopback, and names that resolve to it. Each host is named in the settings: the address decides.
#[tokio::test]
async fn private_addresses_are_not_asked_however_they_are_written() {
    let (port, asked) = host(answer("200 OK", "{}"));
    let hosts = ["127.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]", "0.0.0.0"];
    let fetcher = fetcher(&hosts, false);
    for written in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "0",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
    ] {
        let error = fetcher.fetch(&format!("https://{written}:{port}/")).await.expect_err(written);
        assert!(matches!(&error, FetchError::Failed(why) if why.contains("not public")), "{written}: {error}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn documents_within_their_limits() {
    let fetcher = fetcher(&["localhost"], true);
    let get = async |answer: Vec<u8>| {
        let (port, _) = host(answer);
        fetcher.fetch(&format!("http://localhost:{port}/jwks")).await
    };
    assert_eq!(get(answer("200 OK", r#"{"keys":[]}"#)).await.unwrap()["keys"], serde_json::json!([]));
    assert_eq!(get(answer("200 OK", &format!("\"{}\"", "x".repeat(998)))).await.unwrap().as_str().unwrap().len(), 998);
    assert_eq!(get(answer("200 OK", &format!("\"{}\"", "x".repeat(999)))).await, Err(FetchError::TooLarge));
    assert_eq!(get(answer("200 OK", "<html>")).await, Err(FetchError::NotJson));
    assert_eq!(get(answer("404 Not Found", "{}")).await, Err(FetchError::Status(404)));

    let (port, asked) = host(answer("200 OK", "{}"));
    let moved = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://localhost:{port}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(get(moved.into_bytes()).await, Err(FetchError::Status(302)));
    assert_eq!(asked.load(Ordering::SeqCst), 0, "no redirect is followed");
}

/// Small when it comes, large when it is unpacked.
#[tokio::test]
async fn a_document_that_swells_is_cut_off() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&vec![b' '; 10_000_000]).unwrap();
    let packed = packer.finish().unwrap();
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", packed.len()).into_bytes();
    answer.extend(packed);
    let (port, _) = host(answer);
    assert_eq!(
        fetcher(&["localhost"], true).fetch(&format!("http://localhost:{port}/")).await,
        Err(FetchError::TooLarge)
    );
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fetcher = Fetcher::new(&Auth {
        fetch_hosts: vec!["localhost".into()],
        fetch_private: true,
        fetch_timeout_ms: 100,
        ..Auth::default()
    });
    let address = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    assert!(matches!(fetcher.fetch(&address).await, Err(FetchError::Failed(_))));
}
