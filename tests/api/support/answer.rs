//! Answers.

use serde_json::Value;
use std::fmt;
use ureq::http::HeaderMap;

/// An answer. What is asked of it and does not hold fails with the request, the status and the body.
pub struct Answer {
    sent: String,
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    pub(super) const fn new(sent: String, status: u16, headers: HeaderMap, bytes: Vec<u8>) -> Self {
        Self { sent, status, headers, bytes }
    }

    pub const fn status(&self) -> u16 {
        self.status
    }

    #[track_caller]
    pub fn status_is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn header_is(self, name: &str, value: &str) -> Self {
        assert_eq!(self.header(name), Some(value), "{name} of {self}");
        self
    }

    /// The path after the base in `Location`: `/Patient/1/_history/1`.
    #[track_caller]
    pub fn location(&self, base: &str) -> String {
        let location = self.header("location").unwrap_or_else(|| panic!("no Location in {self}"));
        location.strip_prefix(base).unwrap_or_else(|| panic!("{location} is not below {base}")).to_owned()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_else(|_| panic!("no UTF-8 in {self}"))
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// The part of the JSON at a JSON Pointer (`/meta/versionId`), or null.
    #[track_caller]
    pub fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or_default()
    }

    /// The logical id of the resource.
    #[track_caller]
    pub fn id(&self) -> String {
        self.string("/id")
    }

    /// `meta.versionId` of the resource.
    #[track_caller]
    pub fn version(&self) -> String {
        self.string("/meta/versionId")
    }

    #[track_caller]
    fn string(&self, pointer: &str) -> String {
        self.at(pointer).as_str().unwrap_or_else(|| panic!("no {pointer} in {self}")).to_owned()
    }

    /// The resources of a Bundle, in order; null for an entry without.
    #[track_caller]
    pub fn resources(&self) -> Vec<Value> {
        let bundle = self.json();
        assert_eq!(bundle["resourceType"], "Bundle", "{self}");
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        entries.into_iter().map(|mut entry| entry["resource"].take()).collect()
    }

    /// The logical ids of a Bundle's resources, in order.
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        self.resources().iter().map(|resource| resource["id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The URL of a Bundle's link: `next`.
    #[track_caller]
    pub fn link(&self, relation: &str) -> Option<String> {
        let links = self.at("/link").as_array().cloned().unwrap_or_default();
        let link = links.into_iter().find(|link| link["relation"] == relation)?;
        Some(link["url"].as_str().unwrap_or_else(|| panic!("a link without URL in {self}")).to_owned())
    }

    /// The body as an OperationOutcome.
    #[track_caller]
    pub fn outcome(&self) -> Outcome {
        let outcome = self.json();
        assert_eq!(outcome["resourceType"], "OperationOutcome", "{self}");
        let content_type = self.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with("application/fhir+json"), "{content_type} for {self}");
        let issues = outcome["issue"].as_array().cloned().unwrap_or_default();
        assert!(!issues.is_empty(), "no issue in {self}");
        Outcome { issues }
    }

    /// Fails where the body is no OperationOutcome with an issue of this code.
    #[track_caller]
    pub fn issue(self, code: &str) -> Self {
        assert!(self.outcome().codes().iter().any(|found| found == code), "no issue `{code}` in {self}");
        self
    }

    /// Fails where the body is no OperationOutcome with an issue about this element.
    #[track_caller]
    pub fn about(self, expression: &str) -> Self {
        let found = self.outcome().expressions();
        assert!(found.iter().any(|found| found == expression), "no issue about `{expression}` in {self}");
        self
    }

    /// Fails where the body is no OperationOutcome whose diagnostics have this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let found = self.outcome().diagnostics();
        assert!(found.iter().any(|found| found.contains(text)), "no issue says `{text}` in {self}");
        self
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.bytes);
        write!(f, "the answer to {}: {} {body}", self.sent, self.status)
    }
}

/// The issues of an OperationOutcome.
pub struct Outcome {
    issues: Vec<Value>,
}

impl Outcome {
    pub fn codes(&self) -> Vec<String> {
        self.texts("/code")
    }

    pub fn severities(&self) -> Vec<String> {
        self.texts("/severity")
    }

    pub fn diagnostics(&self) -> Vec<String> {
        self.texts("/diagnostics")
    }

    /// The first expression of each issue; empty where it has none.
    pub fn expressions(&self) -> Vec<String> {
        self.texts("/expression/0")
    }

    fn texts(&self, pointer: &str) -> Vec<String> {
        let text = |issue: &Value| issue.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.issues.iter().map(text).collect()
    }
}
