//! An entry of the ledger as people read it, and as a line of a CSV file (RFC 4180).

use super::filter::Outcome;
use crate::audit::reader::Read;
use crate::audit::{Event, Record};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The most characters of what was asked that a line shows.
const MOST_CHARACTERS: usize = 160;

/// The most patients that a line shows.
const MOST_PATIENTS: usize = 4;

/// An entry as a row of a table.
pub struct Line {
    pub(super) number: u64,
    pub(super) time: String,
    pub(super) what: String,
    pub(super) detail: String,
    pub(super) who: String,
    pub(super) client: String,
    pub(super) from: String,
    pub(super) patients: String,
    pub(super) outcome: String,
    pub(super) is_refused: bool,
    pub(super) reason: String,
}

impl Line {
    pub(super) fn of(read: &Read) -> Self {
        let Record { shape, content } = &read.record;
        let agent = &shape.agent;
        let outcome = match Outcome::of(shape.status) {
            Outcome::Good | Outcome::Any => "done".to_owned(),
            Outcome::Refused => format!("refused ({})", shape.status),
            Outcome::Failed => format!("failed ({})", shape.status),
        };
        let shown = content.patients.iter().take(MOST_PATIENTS).map(|id| &**id).collect::<Vec<_>>().join(", ");
        let patients = match content.patients.len().saturating_sub(MOST_PATIENTS) {
            0 => shown,
            more => format!("{shown} and {more} more"),
        };
        let query = content.query.as_deref().map(|query| percent_decode_str(query).decode_utf8_lossy());
        let other = content.target.as_deref().or(shape.name.as_deref()).unwrap_or_default();
        let about = query.as_deref().unwrap_or(other);
        let changed = content.changed.iter().map(|changed| &*changed.what);
        let note = content.note.as_deref();
        let detail = std::iter::once(about).chain(changed).chain(note).filter(|text| !text.is_empty());
        Self {
            number: read.number,
            time: time(read),
            what: said(&shape.event).into_owned(),
            detail: short(&detail.collect::<Vec<_>>().join(" · ")),
            who: who(&read.record),
            client: agent.client.as_deref().unwrap_or_default().to_owned(),
            from: shape.from.map(|from| from.to_string()).unwrap_or_default(),
            patients,
            outcome,
            is_refused: shape.status >= 400,
            reason: agent.emergency.as_deref().unwrap_or_default().to_owned(),
        }
    }
}

/// Who did it, for people: a name, or the client that acts for itself.
pub fn who(record: &Record<'_>) -> String {
    let agent = &record.shape.agent;
    match (&agent.name, &agent.user, &agent.client) {
        (Some(name), _, _) if !name.is_empty() => name.to_string(),
        (_, Some(user), _) => user.to_string(),
        (_, None, Some(client)) => format!("the app {client}"),
        (_, None, None) if matches!(record.shape.event, Event::Start | Event::Stop | Event::Unwrapping) => {
            "the server".to_owned()
        }
        (_, None, None) => "nobody known".to_owned(),
    }
}

/// Time to the second, in UTC.
fn time(read: &Read) -> String {
    read.time.to_instant().get(..19).unwrap_or_default().replace('T', " ")
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(MOST_CHARACTERS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// An event in words.
pub fn said(event: &Event) -> Cow<'_, str> {
    let words = match event {
        Event::Interaction(code) => return Cow::Borrowed(code),
        Event::Operation(name) => return Cow::Owned(format!("${name}")),
        Event::Administration(what) => return Cow::Owned(format!("administration: {what}")),
        Event::SignIn => "sign-in",
        Event::SignOut => "sign-out",
        Event::Lockout => "lockout",
        Event::Token => "token",
        Event::Reuse => "token used twice",
        Event::Introspection => "introspection",
        Event::UserInfo => "who the user is",
        Event::Launch => "launch of an app",
        Event::Refusal => "refusal",
        Event::Revocation => "revocation",
        Event::Authorization => "authorization of an app",
        Event::Emergency => "emergency access asked for",
        Event::EmergencyEnd => "emergency access given up",
        Event::Account => "account",
        Event::Export => "export",
        Event::Erasure => "erasure",
        Event::Archival => "archival",
        Event::Start => "server start",
        Event::Stop => "server stop",
        Event::Verification => "verification",
        Event::Unwrapping => "key unwrapped",
    };
    Cow::Borrowed(words)
}

/// The head of the CSV file.
pub const HEAD: &str = "id,recorded,event,status,user,name,roles,client,address,purpose,emergency reason,patients,resource,changed,\
query,object,note\r\n";

/// An entry as a line of the CSV file.
pub fn csv(read: &Read) -> String {
    let Record { shape, content } = &read.record;
    let agent = &shape.agent;
    let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
    let own = |text: &Option<Cow<'static, str>>| text.as_deref().unwrap_or_default().to_owned();
    let changed = content.changed.iter().map(|changed| format!("{} {}", changed.action, changed.what));
    let cells = [
        read.number.to_string(),
        read.time.to_instant(),
        said(&shape.event).into_owned(),
        shape.status.to_string(),
        text(&agent.user),
        text(&agent.name),
        agent.roles.join(", "),
        text(&agent.client),
        shape.from.map(|from| from.to_string()).unwrap_or_default(),
        agent.purpose.join(" "),
        text(&agent.emergency),
        content.patients.join(" "),
        own(&content.target),
        changed.collect::<Vec<_>>().join(", "),
        own(&content.query),
        own(&shape.name),
        own(&content.note),
    ];
    cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(",") + "\r\n"
}

/// A text as a cell. What a spreadsheet would take for a formula is made a text by an apostrophe.
pub fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::agent::Agent;
    use crate::clock::Micros;

    #[test]
    fn cells_are_texts() {
        for (text, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@sum", "'@sum"),
            ("\t=1", "'\t=1"),
            ("=a,b", "\"'=a,b\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), written);
        }
    }

    #[test]
    fn a_line_has_as_many_cells_as_the_head() {
        let record = Record::of(Event::SignOut, Cow::Owned(Agent::client("=app")));
        let line = csv(&Read { number: 7, parts: 1, time: Micros(0), record });
        assert_eq!(line.split(',').count(), HEAD.split(',').count());
        assert!(line.starts_with("7,1970-01-01T00:00:00.000000Z,sign-out,200,,,,'=app,"), "{line}");
    }
}
