//! The entries as a file: CSV, or AuditEvents in NDJSON. It is sent in parts; each is recorded, with the patients whom it names, before
//! it leaves.

use super::filter::Filter;
use super::line::{HEAD, csv};
use crate::app::App;
use crate::audit::event::{self, Facet, Own};
use crate::audit::reader::{Read, Reader};
use crate::audit::record::Content;
use crate::audit::{Event, Record};
use crate::auth::agent::Agent;
use crate::error::{Error, Result};
use crate::fhir::write;
use crate::interaction;
use crate::interaction::call::Call;
use crate::store::ledger::id_of;
use crate::tenant::TenantId;
use actix_web::web::Bytes;
use futures_util::{Stream, stream};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// The most entries of a file.
pub const MOST_EXPORTED: u64 = 100_000;

/// Entries that are sent together, and that are looked at for it.
const TOGETHER: u64 = 1_000;
const LOOKED_AT: u64 = 50_000;

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Ndjson,
}

impl Format {
    /// The media type, and how the name of the file ends.
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Csv => ("text/csv; charset=utf-8", "csv"),
            Self::Ndjson => ("application/fhir+ndjson", "ndjson"),
        }
    }

    fn head(self) -> &'static str {
        if self == Self::Csv { HEAD } else { "" }
    }

    /// An entry: of several patients as an AuditEvent for each, or for the one that was asked for.
    fn line(self, base: &str, read: &Read, patient: &str) -> String {
        match self {
            Self::Csv => csv(read),
            Self::Ndjson => {
                let Record { shape, content } = &read.record;
                let is_shown = |part: &u32| {
                    let named = event::patient(content, *part);
                    *part == 0 || patient.is_empty() || named == Some(patient)
                };
                let line = |part: u32| {
                    let id = id_of(read.number + u64::from(part));
                    let own = Own { id: &id, time: read.time, content, part };
                    let resource = event::resource(base, shape, Facet::of(content, part), Some(own));
                    String::from_utf8_lossy(&write::to_vec(&resource.into())).into_owned() + "\n"
                };
                (0..read.parts).filter(is_shown).map(line).collect()
            }
        }
    }

    /// What the file ends with where it does not have all.
    fn cut(self, why: &str) -> String {
        match self {
            Self::Csv => format!("{}\r\n", super::line::cell(why)),
            Self::Ndjson => {
                let outcome = crate::tree!({
                    "resourceType": "OperationOutcome",
                    "issue": [{ "severity": "warning", "code": "incomplete", "diagnostics": (why.to_owned()) }],
                });
                String::from_utf8_lossy(&write::to_vec(&outcome)).into_owned() + "\n"
            }
        }
    }
}

/// A file that is being sent.
pub struct Export {
    pub app: Arc<App>,
    pub reader: Reader,
    pub filter: Filter,
    pub format: Format,
    pub agent: Arc<Agent>,
    pub from: IpAddr,
    pub tenant: TenantId,
}

/// How far it has come.
struct Place {
    /// The blocks that are still to be read.
    blocks: Range<u64>,
    /// The number of the next entry.
    next: u64,
    sent: u64,
    is_first: bool,
}

/// A part of it.
struct Part {
    text: String,
    patients: BTreeSet<Box<str>>,
    count: u64,
    place: Option<Place>,
}

impl Export {
    /// The file, part by part. It breaks off with an error where the store fails, or the ledger can't take the record of a part.
    ///
    /// # Errors
    /// When the store fails.
    pub fn stream(self) -> Result<impl Stream<Item = Result<Bytes>>> {
        let blocks = self.reader.numbers(self.filter.period)?;
        let place = Place { next: blocks.start, blocks, sent: 0, is_first: true };
        Ok(stream::try_unfold((Arc::new(self), Some(place)), async |(export, place)| {
            let Some(place) = place else { return Ok(None) };
            let reading = Arc::clone(&export);
            let read = tokio::task::spawn_blocking(move || reading.part(place)).await;
            let part = read.map_err(|_| Error::internal("an export of the ledger panicked"))??;
            export.record(&part).await?;
            Ok(Some((Bytes::from(part.text), (export, part.place))))
        }))
    }

    fn part(&self, place: Place) -> Result<Part> {
        let Place { blocks, next, sent, is_first } = place;
        let text = if is_first { self.format.head().to_owned() } else { String::new() };
        let mut part = Part { text, patients: BTreeSet::new(), count: 0, place: None };
        let (mut looked_at, mut unreadable, mut after) = (0, 0_u64, next);
        let stopped = self.reader.read(blocks.clone(), &mut |read| {
            let Some(read) = read else {
                unreadable += 1;
                return ControlFlow::Continue(());
            };
            if read.number < next {
                return ControlFlow::Continue(());
            }
            if part.count == TOGETHER || looked_at == LOOKED_AT {
                return ControlFlow::Break(());
            }
            looked_at += 1;
            after = read.number + u64::from(read.parts);
            if self.filter.has(read.time, &read.record) {
                part.count += 1;
                part.text += &self.format.line(&self.app.config.base_url(), &read, &self.filter.patient);
                part.patients.extend(read.record.content.patients.iter().cloned());
            }
            ControlFlow::Continue(())
        })?;
        let sent = sent + part.count;
        if unreadable > 0 {
            part.text += &self.format.cut("Entries are missing here that can't be read: verify the ledger.");
        }
        if stopped < blocks.end {
            if sent < MOST_EXPORTED {
                part.place = Some(Place { blocks: stopped..blocks.end, next: after, sent, is_first: false });
            } else {
                let why = format!("Cut after {MOST_EXPORTED} entries: choose a shorter period for the rest.");
                part.text += &self.format.cut(&why);
            }
        }
        Ok(part)
    }

    async fn record(&self, part: &Part) -> Result<()> {
        let mut content = Content::default();
        let call = Call::Search { type_name: Some("AuditEvent".to_owned()) };
        interaction::tell(&call, &self.filter.query(), &mut content);
        content.patients = part.patients.iter().cloned().collect();
        content.note = Some(format!("{} entries of the ledger as {}", part.count, self.format.names().1).into());
        let mut record = Record::of(Event::Export, Cow::Borrowed(&*self.agent));
        record.shape.from = Some(self.from);
        record.content = content;
        self.app.ledger.note(self.tenant, record).await
    }
}
