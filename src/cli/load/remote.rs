//! A FHIR server across HTTP.

use super::Failure;
use super::items::{bundle, entry};
use super::target::{Outcomes, Reason, Stored, Target};
use crate::fhir::parse::parse;
use std::thread;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Response;
use ureq::http::header::RETRY_AFTER;

/// The largest answer that is read, in bytes.
const ANSWER_BYTES: u64 = 256 << 20;

/// How often a server may answer that it has too much to do, before that counts as a failure.
const PATIENCE: u32 = 6;

/// The longest wait that a `Retry-After` is granted.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A server.
pub(in crate::cli) struct Remote {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

impl Remote {
    /// The server at a FHIR base URL.
    pub(in crate::cli) fn new(url: &str, token: Option<&str>) -> Result<Self, Failure> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err("--url: not an http or https URL".into());
        }
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_mins(10)));
        Ok(Self {
            agent: config.build().into(),
            url: url.trim_end_matches('/').to_owned(),
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    /// All entries as one transaction, which costs one fsync; where that is refused, as a batch, which tells whose fault it is.
    fn send_entries(&self, entries: &[&[u8]]) -> Outcomes {
        let together = |kind| bundle(kind, entries.iter().copied());
        let outcomes = match self.send(&together("transaction")) {
            Ok(outcomes) if outcomes.iter().all(Option::is_none) => Ok(outcomes),
            Err(reason) if reason.unreachable => Err(reason),
            _ => self.send(&together("batch")),
        };
        outcomes.unwrap_or_else(|reason| vec![Some(reason); entries.len()])
    }

    fn post(&self, bundle: &[u8]) -> Result<Response<ureq::Body>, ureq::Error> {
        let mut request = self.agent.post(&self.url).header("prefer", "return=minimal");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        request.header("content-type", "application/fhir+json").header("accept", "application/fhir+json").send(bundle)
    }
}

impl Target for Remote {
    fn answer(&self, bundle: &[u8]) -> Result<Vec<u8>, Reason> {
        let lost =
            |error: ureq::Error| Reason { status: "no answer".into(), text: error.to_string(), unreachable: true };
        let mut wait = Duration::from_millis(250);
        for tries_left in (0..PATIENCE).rev() {
            let mut answer = self.post(bundle).map_err(lost)?;
            let status = answer.status();
            // Both say that nothing was done, so that it is safe to send the same again.
            if matches!(status.as_u16(), 429 | 503) && tries_left > 0 {
                let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                thread::sleep(asked.map_or(wait, Duration::from_secs).min(LONGEST_WAIT));
                wait *= 2;
                continue;
            }
            let body = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec().map_err(lost)?;
            return if status.is_success() { Ok(body) } else { Err(Reason::of_answer(status.as_str(), &body)) };
        }
        Err(Reason { status: "503".into(), text: "the server has too much to do".into(), unreachable: true })
    }

    /// By the interactions that every server has, whether it imports or not.
    fn lines(&self, lines: &[&[u8]]) -> Vec<Result<Stored, Reason>> {
        let unsent = |text| Reason { status: "not sent".into(), text, unreachable: false };
        let entries: Vec<_> = lines.iter().map(|line| entry_of(line).map_err(unsent)).collect();
        let sendable: Vec<&[u8]> = entries.iter().flatten().map(Vec::as_slice).collect();
        let mut outcomes = if sendable.is_empty() { Vec::new() } else { self.send_entries(&sendable) }.into_iter();
        let unanswered =
            || Reason { status: "200".into(), text: "the answer has too few entries".into(), unreachable: false };
        let outcome = |entry: Result<Vec<u8>, Reason>| match entry {
            Ok(_) => outcomes.next().unwrap_or_else(|| Some(unanswered())).map_or(Ok(Stored::New), Err),
            Err(reason) => Err(reason),
        };
        entries.into_iter().map(outcome).collect()
    }

    fn close(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// How deep the JSON may be nested: more than any server takes.
const DEPTH: usize = 256;

/// The entry that stores the resource of a line.
fn entry_of(line: &[u8]) -> Result<Vec<u8>, String> {
    let value = parse(line, DEPTH).map_err(|error| format!("{}, column {}", error.reason, error.column))?;
    let resource = value.as_object().ok_or("not a JSON object")?;
    entry(resource, None, Some(line)).ok_or_else(|| "resourceType: missing".to_owned())
}
