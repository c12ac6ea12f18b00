//! How the real program stops: first it is not ready and serves on, then it takes no more connections.

use crate::support::{Client, Process, free_address};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// More than the program ever needs for anything here, and less than what a test gives it where it is not to wait so long.
const SOON: Duration = Duration::from_secs(20);

struct Running {
    process: Process,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Running {
    fn with(limits: &str) -> Self {
        Self::set(&format!("[limits]\n{limits}\n"))
    }

    fn set(settings_text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("pharos.toml");
        std::fs::write(&settings, settings_text).unwrap();
        let (address, store) = (free_address(), format!("file:{}", folder.path().join("data").display()));
        let process = Process::start(
            ["serve", "--insecure-open", "--listen", &address.to_string(), "--store", &store]
                .into_iter()
                .chain(["--config", settings.to_str().unwrap()]),
        );
        process.lines_until("serving FHIR");
        Self { process, address, _folder: folder }
    }

    /// The head of what is answered; `None` where no connection is taken, or it is ended at once.
    fn ask(&self, path: &str) -> Option<String> {
        let mut connection = TcpStream::connect(self.address).ok()?;
        ask_over(&mut connection, path)
    }

    fn until_not_ready(&self) -> String {
        let began = Instant::now();
        loop {
            let answer = self.ask("/health/ready").expect("it takes connections while it drains");
            if !answer.starts_with("HTTP/1.1 200") {
                return answer;
            }
            assert!(began.elapsed() < SOON, "it stays ready: {answer}");
        }
    }
}

/// Sends a request over a connection that is there, and reads the head of its answer and what else has come by then. `None` where none comes.
fn ask_over(connection: &mut TcpStream, path: &str) -> Option<String> {
    connection.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).ok()?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match connection.read(&mut part) {
            Ok(length) if length > 0 => answer.extend_from_slice(&part[..length]),
            _ => return None,
        }
    }
    Some(String::from_utf8(answer).unwrap())
}

fn closes(answer: &str) -> bool {
    answer.lines().any(|line| line.eq_ignore_ascii_case("connection: close"))
}

#[test]
fn a_server_that_is_told_to_stop_serves_on_until_others_know() {
    let server = Running::with("drain_s = 3");
    let mut kept = TcpStream::connect(server.address).unwrap();
    let mut idle = TcpStream::connect(server.address).unwrap();
    for connection in [&mut kept, &mut idle] {
        let answer = ask_over(connection, "/health/ready").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && !closes(&answer), "{answer}");
    }
    let told = Instant::now();
    server.process.terminate();

    let answer = server.until_not_ready();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("The server is stopping."), "{answer}");
    assert!(told.elapsed() < Duration::from_secs(3), "it says so before it takes no more connections");
    for answer in [server.ask("/fhir/Patient/none"), ask_over(&mut kept, "/fhir/Patient/none")] {
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404") && closes(&answer), "it serves on, and ends connections: {answer}");
    }
    assert_eq!(kept.read(&mut [0; 16]).unwrap(), 0, "it has closed the connection, as it said");

    while server.ask("/health/live").is_some() {
        assert!(told.elapsed() < SOON, "it never takes less");
    }
    assert!(told.elapsed() >= Duration::from_secs(3), "{:?}", told.elapsed());
    assert!(server.process.wait().success(), "{}", server.process.said());
    assert!(told.elapsed() < SOON, "a connection on which nothing comes holds it up: {:?}", told.elapsed());
}

#[test]
fn what_is_deferred_is_finished_while_others_are_told() {
    let server = Running::with("drain_s = 15");
    server.process.terminate();
    server.until_not_ready();
    let mut connection = TcpStream::connect(server.address).unwrap();
    let begun = ask_over(&mut connection, "/fhir/Patient HTTP/1.1\r\nPrefer: respond-async\r\nX-Rest:").unwrap();
    assert!(begun.starts_with("HTTP/1.1 202"), "{begun}");
    let place = begun.lines().find_map(|line| line.strip_prefix("content-location: ")).unwrap();
    let path = &place[place.find("/fhir").unwrap()..];
    let until = Instant::now() + SOON;
    while !server.ask(path).expect("it serves on").starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < until, "it is never done");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.process.terminate();
    assert!(server.process.wait().success(), "{}", server.process.said());
}

#[test]
fn a_person_at_a_terminal_does_not_wait() {
    let server = Running::with("drain_s = 600");
    let told = Instant::now();
    server.process.interrupt();
    assert!(server.process.wait().success(), "{}", server.process.said());
    assert!(told.elapsed() < SOON, "{:?}", told.elapsed());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = Running::with("drain_s = 600");
    let told = Instant::now();
    server.process.terminate();
    server.until_not_ready();
    server.process.terminate();
    assert!(server.process.wait().success(), "{}", server.process.said());
    assert!(told.elapsed() < SOON, "{:?}", told.elapsed());
}

/// A server that is told to stop, and told again once it says `said`, while a job is at a part that takes for ever.
fn ends_beside_a_job(drain_s: u64, said: &str) {
    // It takes connections, and never answers.
    let bucket = TcpListener::bind("127.0.0.1:0").unwrap();
    let credentials = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(credentials.path(), "aws_access_key_id = a\naws_secret_access_key = b\n").unwrap();
    let (endpoint, path) = (bucket.local_addr().unwrap(), credentials.path().to_str().unwrap());
    let server = Running::set(&format!(
        "[limits]\ndrain_s = {drain_s}\n[bulk]\nfiles = \"s3://bucket/exports\"\nsweep_interval_s = 0\n\
         [bulk.s3]\nendpoint = \"http://{endpoint}\"\ncredentials = \"{path}\"\ntimeout_ms = 120000\n"
    ));
    let client = Client::new(format!("http://{}/fhir", server.address));
    client.put("/Patient/a").json(json!({"resourceType": "Patient", "id": "a"})).expect(201);
    client.get("/$export").header("Prefer", "respond-async").expect(202);
    let (_at_work, _) = bucket.accept().unwrap();
    server.process.terminate();
    server.process.lines_until(said);
    std::thread::sleep(Duration::from_secs(2));
    assert!(!server.process.has_ended(), "it does not wait for the job: {}", server.process.said());
    let told = Instant::now();
    server.process.terminate();
    while !server.process.has_ended() {
        assert!(told.elapsed() < SOON, "it waits for the job: {}", server.process.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(server.process.wait().success(), "{}", server.process.said());
    assert!(server.process.said().contains("a second time"), "{}", server.process.said());
}

#[test]
fn a_second_signal_does_not_wait_for_a_job_that_goes_on() {
    ends_beside_a_job(600, "not ready any more");
}

#[test]
fn a_second_signal_does_not_wait_for_a_job_that_is_to_end() {
    ends_beside_a_job(0, "no more connections");
}
