use super::*;
use jsonwebtoken::Algorithm;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A P-256 key: the base point of the curve, which is a good public key whose private key everybody knows.
fn key(kid: &str) -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid,
        "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
    })
}

fn head(kid: &str) -> Head {
    Head { alg: Algorithm::ES256, kid: Some(kid.into()), typ: None, jku: None }
}

/// A host whose n-th answer is a set with the key `n`, from 1; `None` answers 500.
fn host(good: impl Fn(usize) -> bool + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (format!("http://{}/", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let n = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let body = json!({ "keys": [key(&n.to_string())] }).to_string();
            let status = if good(n) { 200 } else { 500 };
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    (address, asked)
}

fn remote() -> RemoteKeys {
    let config = Auth { fetch_hosts: vec!["127.0.0.1".into()], fetch_private: true, ..Auth::default() };
    let fetcher = Arc::new(Fetcher::new(&config));
    RemoteKeys::new(&config, fetcher)
}

#[test]
fn keys_of_no_use_are_left_out() {
    let weak = json!({ "kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB" });
    let secret = json!({ "kty": "oct", "kid": "secret", "k": "AAAA" });
    let mut other_use = key("other use");
    other_use["use"] = json!("enc");
    let mut other_alg = key("other alg");
    other_alg["alg"] = json!("ES384");
    let mut unnamed = key("");
    unnamed.as_object_mut().unwrap().remove("kid");
    let set = json!({ "keys": [weak, secret, other_use, other_alg, unnamed, { "kty": "odd" }, 7, key("good")] });
    let keys = PublicKeys::read(&set).unwrap();
    assert_eq!(keys.0.iter().map(|(kid, _)| kid.as_str()).collect::<Vec<_>>(), ["good"]);
    assert!(keys.find(&head("good")).is_some() && keys.find(&head("weak")).is_none());
    assert!(PublicKeys::read(&json!({ "keys": {} })).is_none() && PublicKeys::read(&json!([])).is_none());
}

#[tokio::test]
async fn a_set_is_fetched_when_it_is_old_or_lacks_a_key() {
    let ((address, asked), remote) = (host(|_| true), remote());
    let kids = async |kid: &str, now| {
        let keys = remote.keys(&address, &head(kid), now).await.unwrap();
        keys.0.iter().map(|(kid, _)| kid.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kids("1", 0).await, "1");
    assert_eq!(kids("1", 299).await, "1");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(kids("1", 300).await, "2", "too old");
    assert_eq!(kids("9", 305).await, "2", "not twice in ten seconds");
    assert_eq!(kids("9", 310).await, "3", "a key that is not known");
    assert_eq!(kids("9", 319).await, "3");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_host_that_fails_is_left_alone_for_a_while() {
    let ((address, asked), remote) = (host(|n| n > 1), remote());
    assert_eq!(remote.keys(&address, &head("1"), 0).await.err(), Some(FetchError::Status(500)));
    assert!(remote.keys(&address, &head("1"), 9).await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(remote.keys(&address, &head("2"), 10).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_wait_ask_once() {
    let ((address, asked), remote) = (host(|_| true), Arc::new(remote()));
    let waiting = (0..64).map(|_| {
        let (remote, address) = (Arc::clone(&remote), address.clone());
        tokio::spawn(async move { remote.keys(&address, &head("1"), 0).await.unwrap().0.len() })
    });
    for keys in futures_util::future::join_all(waiting).await {
        assert_eq!(keys.unwrap(), 1);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
