//! The real program, in a process of its own.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long the program may take to say or do something before a test gives up.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running `pharos`. It is killed when dropped.
pub struct Process {
    child: Mutex<Child>,
    lines: Mutex<Receiver<String>>,
    said: Arc<Mutex<String>>,
}

impl Process {
    /// Starts the program with these arguments, and with no settings from the environment.
    pub fn start(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pharos"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PHAROS_")) {
            command.env_remove(name);
        }
        command.args(arguments).env("NO_COLOR", "1").env("RUST_LOG", "info");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, receiver) = channel();
        let said = Arc::default();
        pass_on(child.stdout.take().unwrap(), sender.clone(), Arc::clone(&said));
        pass_on(child.stderr.take().unwrap(), sender, Arc::clone(&said));
        Self { child: Mutex::new(child), lines: Mutex::new(receiver), said }
    }

    /// The lines that the program says from now on, until one holds `text`, that one included.
    #[track_caller]
    pub fn lines_until(&self, text: &str) -> Vec<String> {
        let (lines, deadline) = (self.lines.lock().unwrap(), Instant::now() + PATIENCE);
        let mut seen: Vec<String> = Vec::new();
        while !seen.last().is_some_and(|line| line.contains(text)) {
            let line = lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            seen.push(line.unwrap_or_else(|error| panic!("no line says `{text}` ({error}):\n{}", self.said())));
        }
        seen
    }

    /// All that the program has said.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Ends the program as a power cut would: it hears nothing of it (SIGKILL). Its files and its port are free then.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks the program to end (SIGTERM).
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child.lock().unwrap()), Signal::TERM).unwrap();
    }

    /// Asks the program to end, as Ctrl-C at a terminal does (SIGINT).
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child.lock().unwrap()), Signal::INT).unwrap();
    }

    /// Whether the program has ended.
    pub fn has_ended(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_some()
    }

    /// How the program ended, once it has.
    pub fn wait(&self) -> ExitStatus {
        self.child.lock().unwrap().wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        // It may have ended already.
        let (_killed, _ended) = (child.kill(), child.wait());
    }
}

fn pass_on(output: impl Read + Send + 'static, sender: Sender<String>, said: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            said.lock().unwrap().extend([line.as_str(), "\n"]);
            // Nobody may be listening any more; the pipe must be emptied all the same.
            let _heard = sender.send(line);
        }
    });
}

/// Below those that systems give to connections, so that none takes a server's port while it is started again.
const PORTS: std::ops::Range<u32> = 20_000..32_000;

/// An address of this machine on which nobody listens, another one each time.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let place = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + place % (PORTS.end - PORTS.start);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())) {
            return listener.local_addr().unwrap();
        }
    }
}
