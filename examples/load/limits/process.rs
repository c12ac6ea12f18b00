//! The server as a process of its own: started, asked how much memory it takes, stopped.

use crate::client::{Base, Client, Failure};
use hyper::Method;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server.
pub struct Server {
    child: Child,
    pub url: String,
    /// From the start of the process to its first answer.
    pub start: Duration,
}

impl Server {
    /// Starts `binary` on a free port with its store in `folder`, and waits for the first answer.
    pub async fn start(binary: &Path, folder: &Path) -> Result<Self, Failure> {
        Self::start_with(binary, folder, &[]).await
    }

    /// The same, with settings by their variables.
    pub async fn start_with(binary: &Path, folder: &Path, settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let begin = Instant::now();
        let child = Command::new(binary)
            .args(["serve", "--insecure-open", "--listen", &format!("127.0.0.1:{port}")])
            // What is measured is the server, not the limits that it keeps.
            .env("PHAROS_LIMITS__CLIENT_REQUESTS_PER_S", "0")
            .env("PHAROS_LIMITS__TENANT_REQUESTS_PER_S", "0")
            .envs(settings.iter().copied())
            .args(["--store", &format!("file:{}", folder.display())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let mut server = Self { child, url: format!("http://127.0.0.1:{port}/fhir"), start: Duration::ZERO };
        let mut client = Client::new(&Base::new(&server.url, None)?);
        loop {
            if let Ok(answer) = client.send(Method::GET, "metadata", None).await {
                if answer.status != 200 {
                    return Err(format!("metadata: status {}", answer.status).into());
                }
                server.start = begin.elapsed();
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended: {status}").into());
            }
            if begin.elapsed() > Duration::from_mins(1) {
                return Err("the server does not answer".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The memory that the process holds, in bytes.
    pub fn resident_bytes(&self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    /// The most that it has held, in bytes.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, which: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(which))?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// The processor time that it has taken so far.
    pub fn processor_time(&self) -> Option<Duration> {
        processor_time(&self.child.id().to_string())
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Result<(), Failure> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The processor time that a process (its number, or `self`) has taken so far, in steps of 10 ms.
pub fn processor_time(process: &str) -> Option<Duration> {
    const TICKS_PER_S: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may hold blanks; behind that stand the state, ten numbers, and the times in user and system mode.
    let mut numbers = stat.rsplit_once(')')?.1.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = numbers.next()?.ok()? + numbers.next()?.ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_S))
}

/// The server's binary beside this tool: `target/{profile}/pharos`.
pub fn default_binary() -> Option<PathBuf> {
    let examples = std::env::current_exe().ok()?;
    Some(examples.parent()?.parent()?.join("pharos"))
}
