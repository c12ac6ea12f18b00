//! A host that has files to be imported, and bad manners where a test wants them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// It answers until the process of the test ends.
pub struct Source {
    address: SocketAddr,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Source {
    /// `answer` is given the path, how often it was asked for before, and the connection.
    pub fn start(answer: impl Fn(&str, usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::hearing(move |path, _, nth, connection| answer(path, nth, connection))
    }

    /// The same, but `answer` is given the request's head, too.
    pub fn hearing(answer: impl Fn(&str, &str, usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, answer) = (listener.local_addr().unwrap(), Arc::new(answer));
        let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (mut connection, answer, asked) = (connection.unwrap(), Arc::clone(&answer), Arc::clone(&counted));
                std::thread::spawn(move || {
                    let head = head(&mut connection);
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let nth = {
                        let mut asked = asked.lock().unwrap();
                        let times = asked.entry(path.clone()).or_default();
                        *times += 1;
                        *times - 1
                    };
                    answer(&path, &head, nth, &mut connection);
                });
            }
        });
        Self { address, asked }
    }

    /// One that has these texts, by path.
    pub fn of(files: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let files: BTreeMap<_, _> = files.into_iter().collect();
        Self::start(move |path, _, connection| match files.get(path) {
            Some(text) => send(connection, 200, "", text.as_bytes()),
            None => send(connection, 404, "", b""),
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().get(path).copied().unwrap_or_default()
    }
}

/// An answer; `headers` are lines that end with CR and LF. Who does not listen any more is not told.
pub fn send(connection: &mut TcpStream, status: u16, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    let _heard = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body));
}

fn head(connection: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|length| length == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}
