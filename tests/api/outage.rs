//! What clients hear while MongoDB does not answer, and that nothing has to be restarted afterwards.

use crate::support::Server;
use crate::support::mongodb::new_database;
use crate::support::server::{START, on_mongodb};
use pharos::clock::FixedClock;
use serde_json::{Value, json};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Passes connections on, until the line is cut.
#[derive(Default)]
struct Line {
    is_cut: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Line {
    fn to(target: String) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(Self::default());
        let own = Arc::clone(&line);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if own.is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let far = TcpStream::connect(&target).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    own.connections.lock().unwrap().push(from.try_clone().unwrap());
                    std::thread::spawn(move || {
                        // One of the two has ended; so does the other.
                        let _ended = std::io::copy(&mut from, &mut to);
                        let _closed = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        (line, address)
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for connection in self.connections.lock().unwrap().drain(..) {
            // It may have ended before.
            let _closed = connection.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn patient(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id})
}

/// A line to a new database, and its address over that line; `None`, which is said, where there is none that can be reached so.
fn new_line() -> Option<(Arc<Line>, String)> {
    let address = new_database()?;
    let (scheme, rest) = address.split_at("mongodb://".len());
    let (host, database) = rest.split_once('/').unwrap();
    if !database.contains("directConnection=true") {
        println!("skipped: only a single server can be reached by another address");
        return None;
    }
    let (line, near) = Line::to(host.to_owned());
    Some((line, format!("{scheme}{near}/{database}")))
}

#[test]
fn an_outage_is_answered_with_503_and_is_over_when_the_database_is_back() {
    let Some((line, address)) = new_line() else { return };
    let server = Server::on(
        |_| {},
        FixedClock::at(START),
        |folder, config, clock| Arc::new(on_mongodb(address, folder, config, clock)),
    );
    server.put("/Patient/a").json(patient("a")).expect(201);
    line.cut();
    let began = Instant::now();
    let root = server.base().trim_end_matches("/fhir");
    let ready = || server.get(&format!("{root}/health/ready")).send();
    until("it is not ready", || ready().status() == 503);
    assert!(ready().text().contains("The database does not answer."), "{}", ready());
    for answer in [server.get("/Patient/a").expect(503), server.put("/Patient/b").json(patient("b")).expect(503)] {
        assert!(answer.header("retry-after").is_some(), "{answer}");
        assert!(!answer.text().contains("127.0.0.1"), "{answer}");
    }
    assert!(began.elapsed() < Duration::from_mins(1), "it takes {:?}", began.elapsed());
    line.mend();
    until("it is ready again", || ready().status() == 200);
    until("it comes back", || server.get("/Patient/a").send().status() == 200);
    server.put("/Patient/c").json(patient("c")).expect(201);
    server.get("/Patient/b").expect(404);
}
