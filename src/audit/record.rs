//! What is kept of one request or event.
//!
//! The bytes of an entry are the number of its parts and the length of the first object (four bytes each), and two JSON objects: what many
//! entries have in common ([`Shape`]: who, what kind, how it ended), and what is this entry's own ([`Content`]: which resource, which patients, which query). So the search keys
//! of a shape need be made once only.

use crate::auth::agent::Agent;
use crate::clock::Micros;
use crate::store::ledger::Entry;
use crate::store::{Method, StoreError, StoreResult};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::IpAddr;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A FHIR interaction, by its code: `read`, `search-type`, `transaction`.
    Interaction(Cow<'static, str>),
    /// A FHIR operation, by its code: `everything`.
    Operation(Cow<'static, str>),
    /// Somebody signed in, or failed to.
    SignIn,
    /// Somebody signed out.
    SignOut,
    /// Somebody has to wait, after too many failures in a row.
    Lockout,
    /// A token was given, or refused.
    Token,
    /// A code or a refresh token was used a second time, so that all that came from it was taken back.
    Reuse,
    /// What a token says was refused to who asked.
    Introspection,
    /// An app asked who the user is.
    UserInfo,
    /// A front end made what an app is to start with.
    Launch,
    /// A request was refused before it was clear what it asks for: over a limit, not to be read, for a tenant that is not served.
    Refusal,
    /// A token or an authorization was taken back.
    Revocation,
    /// Somebody allowed a client to act for them, or did not.
    Authorization,
    /// Somebody asked for access in an emergency.
    Emergency,
    /// Somebody gave it up again.
    EmergencyEnd,
    /// An account changed: its password, its second factor, its roles.
    Account,
    /// What an account, a client, a role or a key may do was changed, by somebody who administers: which of them it was.
    Administration(Cow<'static, str>),
    /// Data left in bulk: a job or a file.
    Export,
    /// Data was erased for good.
    Erasure,
    /// Data was moved out of the way and kept elsewhere.
    Archival,
    /// The server began to serve.
    Start,
    /// The server ended.
    Stop,
    /// The ledger itself was verified.
    Verification,
    /// A data key was unwrapped by the master key.
    Unwrapping,
}

/// A resource that a commit changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// How: a letter of `AuditEvent.action`.
    pub action: char,
    /// `Patient/1`.
    pub what: Box<str>,
    /// Whose data it is: places in [`Content::patients`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<u32>,
}

impl Changed {
    /// The change of a resource by a commit.
    #[must_use]
    pub fn of(method: Method, type_name: &str, id: &str) -> Self {
        let action = match method {
            Method::Create => 'C',
            Method::Update | Method::Patch => 'U',
            Method::Delete => 'D',
        };
        Self { action, what: format!("{type_name}/{id}").into(), of: Vec::new() }
    }
}

/// What many records have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape<'a> {
    /// What happened.
    pub event: Event,
    /// How it ended: the HTTP status.
    pub status: u16,
    /// Who did it.
    pub agent: Cow<'a, Agent>,
    /// The address that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// What it was done to, where that is no resource: the name of a client, an account, a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
}

/// What is a record's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Content<'a> {
    /// The resource that the request names: `Patient/1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Cow<'a, str>>,
    /// What was asked: `Observation?code=8302-2`; of a batch, each request in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Cow<'a, str>>,
    /// The resources that were changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Changed>,
    /// The ids of the patients whose data was given out or changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patients: Vec<Box<str>>,
    /// A sentence for who reads it: why it was refused, how much it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Cow<'a, str>>,
}

impl Content<'_> {
    /// Sets the changes, each with the ids of the patients whose data it is, and names these.
    pub fn set_changed(&mut self, changes: impl IntoIterator<Item = (Changed, Vec<Box<str>>)>) {
        let mut places: FxHashMap<Box<str>, u32> = FxHashMap::default();
        for (mut changed, patients) in changes {
            for patient in patients {
                let next = u32::try_from(places.len()).unwrap_or(u32::MAX);
                changed.of.push(*places.entry(patient).or_insert(next));
            }
            changed.of.sort_unstable();
            changed.of.dedup();
            self.changed.push(changed);
        }
        let mut patients: Vec<_> = places.into_iter().collect();
        patients.sort_unstable_by_key(|(_, place)| *place);
        self.patients = patients.into_iter().map(|(patient, _)| patient).collect();
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it has in common with others.
    pub shape: Shape<'a>,
    /// What is its own.
    pub content: Content<'a>,
}

impl<'a> Record<'a> {
    /// A record of an event that went well, by somebody, with no more said.
    #[must_use]
    pub const fn of(event: Event, agent: Cow<'a, Agent>) -> Self {
        let shape = Shape { event, status: 200, agent, from: None, name: None };
        let content = Content { target: None, query: None, changed: Vec::new(), patients: Vec::new(), note: None };
        Self { shape, content }
    }

    /// It ended with this HTTP status.
    #[must_use]
    pub const fn ended(mut self, status: u16) -> Self {
        self.shape.status = status;
        self
    }

    /// It was done to what has this name.
    #[must_use]
    pub fn named(mut self, name: impl Into<Cow<'a, str>>) -> Self {
        self.shape.name = Some(name.into());
        self
    }

    /// A sentence for who reads it.
    #[must_use]
    pub fn saying(mut self, note: impl Into<Cow<'a, str>>) -> Self {
        self.content.note = Some(note.into());
        self
    }

    /// The entry that is kept.
    ///
    /// # Errors
    /// When it can't be written as JSON, which none can't.
    pub fn entry(mut self, time: Micros) -> StoreResult<Entry> {
        for text in [&mut self.content.query, &mut self.content.note, &mut self.shape.name] {
            cut(text);
        }
        let failed = |error: serde_json::Error| StoreError::Io(format!("a record of the ledger: {error}"));
        let too_long = |_| StoreError::Io("a record of the ledger is too long".into());
        let mut bytes = Vec::with_capacity(USUAL_LENGTH);
        bytes.extend_from_slice(&[0; LENGTHS]);
        serde_json::to_writer(&mut bytes, &self.shape).map_err(failed)?;
        let length = u32::try_from(bytes.len() - LENGTHS).map_err(too_long)?;
        let parts = match self.content.patients.len() {
            0 | 1 => 1,
            several => u32::try_from(several + 1).map_err(too_long)?,
        };
        serde_json::to_writer(&mut bytes, &self.content).map_err(failed)?;
        let lengths = parts.to_be_bytes().into_iter().chain(length.to_be_bytes());
        bytes.iter_mut().zip(lengths).for_each(|(place, byte)| *place = byte);
        Ok(Entry { time, bytes: bytes.into() })
    }
}

const LENGTHS: usize = 8;
/// What most records need: room for it is made at once.
const USUAL_LENGTH: usize = 512;

/// The longest text of a record, in bytes. A form can be as long as a body, and anybody may send one.
pub const LONGEST_TEXT: usize = 16 * 1024;

/// Cuts a text that is too long: it ends in `…` then.
fn cut(text: &mut Option<Cow<'_, str>>) {
    let Some(long) = text.as_mut().filter(|text| text.len() > LONGEST_TEXT) else { return };
    let mut kept = long.get(..long.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default().to_owned();
    kept.push('…');
    *long = Cow::Owned(kept);
}

/// How many resources an entry is served as: one, or where it names several patients, one for all of it and one for each of them.
/// So who may see what concerns one patient learns of no other.
///
/// # Errors
/// For bytes that are no entry.
pub fn parts(bytes: &[u8]) -> StoreResult<u32> {
    bytes.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(damaged)
}

/// The two objects in an entry's bytes.
///
/// # Errors
/// For bytes that are no entry.
pub fn objects(bytes: &[u8]) -> StoreResult<(&[u8], &[u8])> {
    let found = || {
        let (_, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
    };
    found().ok_or_else(damaged)
}

impl Record<'static> {
    /// Reads an entry.
    ///
    /// # Errors
    /// For bytes that are no entry.
    pub fn read(entry: &Entry) -> StoreResult<Self> {
        let (shape, content) = objects(&entry.bytes)?;
        Ok(Self { shape: read(shape)?, content: read(content)? })
    }
}

/// Reads a part of an entry.
///
/// # Errors
/// For other bytes.
pub fn read<T: for<'de> Deserialize<'de>>(json: &[u8]) -> StoreResult<T> {
    serde_json::from_slice(json).map_err(|_| damaged())
}

fn damaged() -> StoreError {
    StoreError::Damaged("an entry of the ledger".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let agent = Agent { user: Some("u1".into()), roles: vec!["nurse".into()], ..Agent::client("app") };
        let mut record = Record::of(Event::Interaction("read".into()), Cow::Owned(agent));
        record.shape.from = "10.0.0.7".parse().ok();
        record.content.target = Some("Observation/3".into());
        record.content.patients = vec!["p".into()];
        let entry = record.clone().entry(Micros(5)).unwrap();
        let back = Record::read(&entry).unwrap();
        assert_eq!(back.content, record.content);
        assert_eq!(parts(&entry.bytes).unwrap(), 1);
        assert_eq!(back.shape.agent, record.shape.agent);
        record.content.query = Some("ä".repeat(LONGEST_TEXT).into());
        let cut = Record::read(&record.entry(Micros(5)).unwrap()).unwrap().content.query.unwrap();
        assert!(cut.len() <= LONGEST_TEXT + 3 && cut.ends_with("ä…"));
        assert!(Record::read(&Entry { time: Micros(0), bytes: b"\0\0\0\x01\0\0\0\x09{}".as_slice().into() }).is_err());
    }
}
