//! Checkpoints go to places outside: whoever can alter the store can't alter what was sent.

use crate::auth::fetch::{FetchError, Fetcher};
use crate::clock::Micros;
use crate::config::{self, Auth};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use ureq::http::Request;
use url::Url;

/// The facility "log audit" and the severity "notice" of RFC 5424, section 6.2.1.
const PRIORITY: u8 = 13 * 8 + 5;

/// The places where checkpoints are sent.
pub struct Places {
    file: Option<PathBuf>,
    url: Option<(String, Fetcher)>,
    syslog: Option<String>,
}

/// Why a checkpoint did not reach a place: for the log.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file or a socket.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The address was not reached.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// It answered that it did not take it.
    #[error("the address answered with status {0}")]
    Status(u16),
}

impl Places {
    /// Those of the settings. The host of the address is one that the operator chose, inside the own network or not.
    #[must_use]
    pub fn new(settings: &config::Audit) -> Self {
        let host = |url: &str| Url::parse(url).ok()?.host_str().map(ToOwned::to_owned);
        let fetcher = |url: &String| {
            let auth = Auth { fetch_hosts: host(url).into_iter().collect(), fetch_private: true, ..Auth::default() };
            (url.clone(), Fetcher::new(&auth))
        };
        Self {
            file: settings.checkpoint_file.clone(),
            url: settings.checkpoint_url.as_ref().map(fetcher),
            syslog: settings.checkpoint_syslog.clone(),
        }
    }

    /// Sends a checkpoint everywhere. What does not take it is named in the log: the next one names its hash all the same.
    pub async fn send(&self, jws: &str, now: Micros) {
        let mut results = Vec::new();
        if let Some(path) = &self.file {
            results.push(("checkpoint_file", append(path, jws).map_err(PublishError::Io)));
        }
        if let Some((url, fetcher)) = &self.url {
            results.push(("checkpoint_url", post(fetcher, url, jws).await));
        }
        if let Some(address) = &self.syslog {
            results.push(("checkpoint_syslog", syslog(address, jws, now).map_err(PublishError::Io)));
        }
        for (place, result) in results {
            if let Err(error) = result {
                tracing::error!(place, %error, "a checkpoint of the ledger was not delivered");
            }
        }
    }
}

fn append(path: &Path, jws: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{jws}\n").as_bytes())?;
    file.sync_data()
}

async fn post(fetcher: &Fetcher, url: &str, jws: &str) -> Result<(), PublishError> {
    let request = Request::post(url).header("content-type", "application/jose").body(jws.as_bytes().to_vec());
    let answer = fetcher.send(request.map_err(|_| FetchError::Address)?).await?;
    if answer.status().is_success() { Ok(()) } else { Err(PublishError::Status(answer.status().as_u16())) }
}

fn syslog(address: &str, jws: &str, now: Micros) -> std::io::Result<()> {
    let socket = UdpSocket::bind(("::", 0)).or_else(|_| UdpSocket::bind(("0.0.0.0", 0)))?;
    let time = now.to_instant();
    let text = format!("<{PRIORITY}>1 {time} - pharos {} checkpoint - {jws}", std::process::id());
    socket.send_to(text.as_bytes(), address).map(drop)
}
