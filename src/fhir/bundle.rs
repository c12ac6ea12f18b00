//! The Bundles that the server answers with, written straight into bytes.
//!
//! <https://hl7.org/fhir/R4/bundle.html>. Resources are stored as bytes and go in as bytes: nothing is parsed.

use super::tree::Value;
use super::write::{write, write_str};
use crate::clock::Micros;

/// `Bundle.type`, as far as the server answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleType {
    /// The result of a search.
    Searchset,
    /// The result of a history interaction.
    History,
    /// The answer to a batch.
    BatchResponse,
    /// What is to be done as one.
    Transaction,
    /// The answer to a transaction.
    TransactionResponse,
    /// Anything gathered (`$everything` uses `searchset`; a document is stored, not made).
    Collection,
}

impl BundleType {
    /// The code of <http://hl7.org/fhir/bundle-type>.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Searchset => "searchset",
            Self::History => "history",
            Self::BatchResponse => "batch-response",
            Self::Transaction => "transaction",
            Self::TransactionResponse => "transaction-response",
            Self::Collection => "collection",
        }
    }
}

/// `Bundle.entry.search.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchMode {
    /// It matched.
    Match,
    /// It came along by `_include` or `_revinclude`.
    Include,
    /// An `OperationOutcome` about the search.
    Outcome,
}

impl SearchMode {
    /// The code of <http://hl7.org/fhir/search-entry-mode>.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Include => "include",
            Self::Outcome => "outcome",
        }
    }
}

/// `Bundle.entry.request`.
#[derive(Debug, Clone, Copy)]
pub struct EntryRequest<'a> {
    /// `GET`, `POST` …
    pub method: &'a str,
    /// Relative to the base: `Patient/1`.
    pub url: &'a str,
}

/// `Bundle.entry.response`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EntryResponse<'a> {
    /// An HTTP status with or without its words: `201 Created`.
    pub status: &'a str,
    /// Where the resource is, with its version.
    pub location: Option<&'a str>,
    /// The version: written as `W/"3"`.
    pub version: Option<u64>,
    /// When the version was made.
    pub last_modified: Option<Micros>,
    /// An `OperationOutcome`.
    pub outcome: Option<&'a Value<'a>>,
}

/// One entry; what is absent is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry<'a> {
    /// The absolute URL of the resource, without version.
    pub full_url: Option<&'a str>,
    /// The resource's JSON.
    pub resource: Option<&'a [u8]>,
    /// Why it is in a searchset.
    pub search: Option<SearchMode>,
    /// How far the search engine scores it, between 0 and 1.
    pub score: Option<f64>,
    /// What was asked (history).
    pub request: Option<EntryRequest<'a>>,
    /// What came of it (history, batch, transaction).
    pub response: Option<EntryResponse<'a>>,
}

/// Writes a Bundle member by member, in the order of the definition: `total`, then links, then entries.
#[derive(Debug)]
pub struct BundleWriter {
    out: Vec<u8>,
    open: Option<&'static str>,
}

impl BundleWriter {
    /// Begins a Bundle. A searchset gets no `id` and is not stored; `last_updated` is the time of the snapshot it shows.
    #[must_use]
    pub fn new(bundle_type: BundleType, last_updated: Option<Micros>) -> Self {
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(br#"{"resourceType":"Bundle""#);
        if let Some(time) = last_updated {
            out.extend_from_slice(br#","meta":{"lastUpdated":"#);
            write_str(&time.to_instant(), &mut out);
            out.push(b'}');
        }
        out.extend_from_slice(br#","type":"#);
        write_str(bundle_type.code(), &mut out);
        Self { out, open: None }
    }

    /// The number of all matches, whichever page this is. Goes before links and entries.
    pub fn total(&mut self, total: u64) -> &mut Self {
        debug_assert!(self.open.is_none(), "total goes before links and entries");
        self.out.extend_from_slice(format!(r#","total":{total}"#).as_bytes());
        self
    }

    /// A link: `self`, `next` … Goes before entries.
    pub fn link(&mut self, relation: &str, url: &str) -> &mut Self {
        debug_assert!(self.open != Some("entry"), "links go before entries");
        self.next_in("link");
        self.out.extend_from_slice(br#"{"relation":"#);
        write_str(relation, &mut self.out);
        self.out.extend_from_slice(br#","url":"#);
        write_str(url, &mut self.out);
        self.out.push(b'}');
        self
    }

    /// An entry.
    pub fn entry(&mut self, entry: &Entry<'_>) -> &mut Self {
        self.next_in("entry");
        let mut members = Members::begin(&mut self.out);
        members.text("fullUrl", entry.full_url);
        if let Some(resource) = entry.resource {
            members.name("resource").extend_from_slice(resource);
        }
        if entry.search.is_some() || entry.score.is_some() {
            let mut search = Members::begin(members.name("search"));
            search.text("mode", entry.search.map(SearchMode::code));
            if let Some(score) = entry.score {
                search.name("score").extend_from_slice(score.to_string().as_bytes());
            }
            search.end();
        }
        if let Some(request) = entry.request {
            let mut inner = Members::begin(members.name("request"));
            inner.text("method", Some(request.method));
            inner.text("url", Some(request.url));
            inner.end();
        }
        if let Some(response) = entry.response {
            write_response(&response, members.name("response"));
        }
        members.end();
        self
    }

    /// How many bytes are written so far: for a limit on the size of a page.
    #[must_use]
    pub const fn bytes_written(&self) -> usize {
        self.out.len()
    }

    /// Ends the Bundle and gives its JSON.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if self.open.is_some() {
            self.out.push(b']');
        }
        self.out.push(b'}');
        self.out
    }

    /// Goes on in the array called `name`, opening it (and closing the one before) where needed.
    fn next_in(&mut self, name: &'static str) {
        if self.open == Some(name) {
            self.out.push(b',');
            return;
        }
        if self.open.is_some() {
            self.out.push(b']');
        }
        self.out.push(b',');
        write_str(name, &mut self.out);
        self.out.extend_from_slice(b":[");
        self.open = Some(name);
    }
}

fn write_response(response: &EntryResponse<'_>, out: &mut Vec<u8>) {
    let mut members = Members::begin(out);
    members.text("status", Some(response.status));
    members.text("location", response.location);
    members.text("etag", response.version.map(|version| format!("W/\"{version}\"")).as_deref());
    members.text("lastModified", response.last_modified.map(Micros::to_instant).as_deref());
    if let Some(outcome) = response.outcome {
        write(outcome, members.name("outcome"));
    }
    members.end();
}

/// The members of one object while it is written.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Members<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Writes the name; the value is to be appended to what it gives.
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        write_str(name, self.out);
        self.out.push(b':');
        self.out
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            write_str(text, self.name(name));
        }
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::outcome::outcome;
    use crate::fhir::parse::parse;

    fn text(bundle: BundleWriter) -> String {
        let bytes = bundle.finish();
        assert!(parse(&bytes, 64).is_ok());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_page_of_a_search() {
        let mut bundle = BundleWriter::new(BundleType::Searchset, Some(Micros(0)));
        bundle.total(7).link("self", "http://x/Patient?name=\"a\"").link("next", "http://x/n");
        bundle.entry(&Entry {
            full_url: Some("http://x/Patient/1"),
            resource: Some(br#"{"resourceType":"Patient","id":"1"}"#),
            search: Some(SearchMode::Match),
            ..Entry::default()
        });
        bundle.entry(&Entry { search: Some(SearchMode::Include), score: Some(0.5), ..Entry::default() });
        assert_eq!(
            text(bundle),
            concat!(
                r#"{"resourceType":"Bundle","meta":{"lastUpdated":"1970-01-01T00:00:00.000000Z"},"type":"searchset","#,
                r#""total":7,"link":[{"relation":"self","url":"http://x/Patient?name=\"a\""},"#,
                r#"{"relation":"next","url":"http://x/n"}],"entry":[{"fullUrl":"http://x/Patient/1","#,
                r#""resource":{"resourceType":"Patient","id":"1"},"search":{"mode":"match"}},"#,
                r#"{"search":{"mode":"include","score":0.5}}]}"#
            )
        );
    }

    #[test]
    fn nothing_found_has_no_entry() {
        let mut bundle = BundleWriter::new(BundleType::Searchset, None);
        bundle.total(0);
        assert_eq!(text(bundle), r#"{"resourceType":"Bundle","type":"searchset","total":0}"#);
    }

    #[test]
    fn entries_of_history_and_transactions_say_what_happened() {
        let mut bundle = BundleWriter::new(BundleType::History, None);
        bundle.entry(&Entry {
            full_url: Some("http://x/Patient/1"),
            request: Some(EntryRequest { method: "DELETE", url: "Patient/1" }),
            response: Some(EntryResponse {
                status: "204",
                version: Some(2),
                last_modified: Some(Micros(1)),
                ..EntryResponse::default()
            }),
            ..Entry::default()
        });
        assert_eq!(
            text(bundle),
            concat!(
                r#"{"resourceType":"Bundle","type":"history","entry":[{"fullUrl":"http://x/Patient/1","#,
                r#""request":{"method":"DELETE","url":"Patient/1"},"#,
                r#""response":{"status":"204","etag":"W/\"2\"","lastModified":"1970-01-01T00:00:00.000001Z"}}]}"#
            )
        );
        let all_ok = outcome(&[]);
        let mut bundle = BundleWriter::new(BundleType::TransactionResponse, None);
        bundle.entry(&Entry {
            response: Some(EntryResponse {
                status: "201 Created",
                location: Some("Patient/1/_history/1"),
                outcome: Some(&all_ok),
                ..EntryResponse::default()
            }),
            ..Entry::default()
        });
        let written = text(bundle);
        assert!(written.contains(r#""type":"transaction-response""#));
        assert!(
            written.contains(r#""status":"201 Created","location":"Patient/1/_history/1","outcome":{"resourceType""#)
        );
    }
}
