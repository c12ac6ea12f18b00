//! One file per FHIR interaction. Nothing here knows HTTP: a [`Request`] comes in, an [`Answer`] goes out, for a request
//! of its own and for an entry of a Bundle alike.

pub mod batch;
pub mod call;
pub mod capabilities;
pub mod condition;
pub mod conformance;
pub mod consenting;
pub mod contexts;
pub mod create;
pub mod criteria;
pub mod cursor;
pub mod deferred;
pub mod delete;
pub mod history;
pub mod job;
pub mod patch;
pub mod quota;
pub mod reach;
pub mod read;
pub mod resolve;
pub mod search;
pub mod searchset;
pub mod transaction;
pub mod update;
pub mod vread;
pub mod writing;

use crate::audit::record::Content;
use crate::audit::{Ledger, Trail};
use crate::auth::grant::Grant;
use crate::auth::server::Server;
use crate::bulk::Exports;
use crate::bulk::files::{File, Place};
use crate::clock::{Clock, Micros};
use crate::config::{Handling, Limits};
use crate::consent::decide::Defaults;
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::tree::{Object, Value};
use crate::jobs::Jobs;
use crate::operation;
use crate::search::Wanted;
use crate::store::{Records, Store, StoreError, Version};
use call::{Call, Verb};
use condition::Conditions;
use conformance::{Conformance, Conformances};
use futures_util::future::BoxFuture;
use quota::Quotas;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Nobody makes, changes or deletes one of these.
pub use crate::key::parameters::LEDGER;

/// What every interaction works with.
#[derive(Clone)]
pub struct Context {
    /// The door to data.
    pub store: Store,
    /// What this request may reach.
    pub grant: Grant,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// The limits.
    pub limits: Arc<Limits>,
    /// The base URL, without a slash at the end.
    pub base: Arc<str>,
    /// Seals the cursors in page links.
    pub cursors: Arc<cursor::Cursors>,
    /// The tenant's search parameters and profiles.
    pub conformance: Arc<Conformance>,
    /// Those of all tenants.
    pub conformances: Arc<Conformances>,
    /// Whether the targets of references must exist.
    pub check_references: bool,
    /// What holds where patients did not decide.
    pub consent_defaults: Defaults,
    /// The authorization server; none where everybody may do everything.
    pub auth: Option<Arc<Server>>,
    /// What the request did, for the audit ledger.
    pub trail: Arc<Trail>,
    /// Whether the answer is still wanted.
    pub wanted: Wanted,
    /// The audit ledger.
    pub ledger: Arc<Ledger>,
    /// Long work.
    pub jobs: Arc<Jobs>,
    /// Where exports are kept.
    pub exports: Arc<Exports>,
    /// How much each tenant may store.
    pub quotas: Arc<Quotas>,
}

/// `Prefer: return=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// No body.
    Minimal,
    /// The resource.
    Representation,
    /// An OperationOutcome.
    OperationOutcome,
}

/// A request, of its own or as an entry of a Bundle.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The method.
    pub verb: Verb,
    /// The interaction.
    pub call: Call,
    /// The parameters of the URL and of a form, in order, decoded.
    pub query: Vec<(String, String)>,
    /// What must hold.
    pub conditions: Conditions,
    /// What the answer shall hold; `None` where the client did not say.
    pub prefer: Option<Return>,
    /// Whether the client would rather ask for the outcome later (`Prefer: respond-async`).
    pub respond_async: bool,
    /// What happens to unknown search parameters.
    pub handling: Handling,
    /// The body: a resource, the array of a JSON Patch, or the text of NDJSON.
    pub body: Option<Value<'a>>,
    /// `X-Provenance`: stored in the same commit.
    pub provenance: Option<Value<'a>>,
}

/// How an interaction ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 200
    Ok,
    /// 201
    Created,
    /// 202
    Accepted,
    /// 204
    NoContent,
    /// 304
    NotModified,
}

/// The answer to a request that succeeded.
#[derive(Debug, Clone)]
pub struct Answer {
    /// How it ended.
    pub status: Status,
    /// `ETag` and `Last-Modified`.
    pub version: Option<(u64, Micros)>,
    /// `Location`: absolute.
    pub location: Option<String>,
    /// A resource in JSON.
    pub body: Option<Vec<u8>>,
    /// What the client is told as an OperationOutcome: instead of a body, or beside the resource in a Bundle.
    pub issues: Vec<Issue>,
    /// Where and when the outcome can be asked for, where there is none yet.
    pub pending: Option<Pending>,
    /// What a job has made, instead of a resource.
    pub made: Option<Made>,
}

/// What a job has made.
#[derive(Debug, Clone)]
pub enum Made {
    /// The manifest, in JSON, and until when its files can be had.
    Manifest(Vec<u8>, Option<Micros>),
    /// A file.
    File(Download),
}

/// A file to be sent.
#[derive(Debug, Clone)]
pub struct Download {
    /// Where it is.
    pub place: Place,
    /// Which one.
    pub file: File,
}

/// What a client hears of a job that has not ended: <https://hl7.org/fhir/R4/async.html>.
#[derive(Debug, Clone)]
pub struct Pending {
    /// `Content-Location`, of an answer that begins it: absolute.
    pub content_location: Option<String>,
    /// `X-Progress`.
    pub progress: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: u32,
}

impl Answer {
    /// 200 with a resource.
    #[must_use]
    pub fn ok(body: Vec<u8>) -> Self {
        Self { body: Some(body), ..Self::empty(Status::Ok) }
    }

    /// 200 with a version of a resource.
    ///
    /// # Errors
    /// When its bytes are damaged.
    pub fn of(context: &Context, version: &Version) -> Result<Self> {
        let mut answer = Self::ok(context.give(version)?);
        answer.version = Some((version.version, version.time));
        Ok(answer)
    }

    /// An answer without a body.
    #[must_use]
    pub const fn empty(status: Status) -> Self {
        Self { status, version: None, location: None, body: None, issues: Vec::new(), pending: None, made: None }
    }
}

/// The JSON of a version that is not a deletion: for the server's own use. What is given out goes through [`Context::give`].
///
/// # Errors
/// When it is one, or its bytes are damaged.
pub fn body_of(version: &Version) -> Result<Vec<u8>> {
    let body = version.body.as_ref().ok_or_else(|| gone(version.version))?;
    Ok(body.unpack(version.version, version.time)?)
}

/// Does what a request asks for.
///
/// # Errors
/// Whatever the interaction refuses.
pub fn perform<'r>(context: &'r Context, request: Request<'r>) -> BoxFuture<'r, Result<Answer>> {
    Box::pin(async move {
        request.check_parameters()?;
        reach::cover(context, &request)?;
        if request.call.type_name() == Some(LEDGER) {
            // What was done a moment ago is to be found.
            context.store.settled().await?;
        }
        if let Some(answer) = deferred::begin(context, &request).await? {
            return Ok(answer);
        }
        match &request.call {
            Call::Capabilities => capabilities::capabilities(context, &request),
            Call::Read { type_name, id } => read::read(context, &request, type_name, id),
            Call::Vread { type_name, id, version } => vread::vread(context, &request, type_name, id, version),
            Call::Create { .. } => create::create(context, request).await,
            Call::Update { .. } => update::update(context, request).await,
            Call::ConditionalUpdate { .. } => update::conditional_update(context, request).await,
            Call::Patch { .. } | Call::ConditionalPatch { .. } => patch::patch(context, request).await,
            Call::Delete { .. } => delete::delete(context, request).await,
            Call::ConditionalDelete { .. } => delete::conditional_delete(context, request).await,
            Call::Search { .. } | Call::CompartmentSearch { .. } => search::search(context, &request),
            Call::History { target } => history::history(context, &request, target),
            Call::Bundle => batch::bundle(context, request).await,
            Call::Job { id } => job::job(context, &request, id).await,
            Call::JobFile { id, name } => job::file(context, &request, id, name),
            Call::Operation { .. } => operation::call(context, request).await,
        }
    })
}

impl Context {
    /// A snapshot under the request's grant, narrowed by what patients consent to.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open(&self) -> Result<Records> {
        consenting::open(self)
    }

    /// The JSON of a version, to be given out: every body in an answer that was not in the request comes from here, so that the
    /// ledger can name the patients.
    ///
    /// # Errors
    /// As [`body_of`].
    pub fn give(&self, version: &Version) -> Result<Vec<u8>> {
        self.trail.disclose(version);
        body_of(version)
    }

    /// What a search is read with.
    #[must_use]
    pub fn search_options(&self, handling: Handling) -> crate::search::Options {
        let limits = &self.limits;
        crate::search::Options {
            handling: match handling {
                Handling::Strict => crate::search::Handling::Strict,
                Handling::Lenient => crate::search::Handling::Lenient,
            },
            limits: crate::search::Limits {
                clauses: limits.search_clauses,
                or_values: limits.search_or_values,
                chain_depth: limits.chain_depth,
                include_depth: limits.include_depth,
                includes: limits.include_max,
                page_default: limits.page_default,
                page_max: limits.page_max,
            },
            now: self.clock.now(),
            base: Some((*self.base).into()),
            has_content: self.conformance.has_content(),
            stored: Some(crate::search::Stored::new(self.store.clone(), self.grant.clone())),
        }
    }

    /// How much one search may read.
    #[must_use]
    pub fn search_budget(&self) -> crate::search::Budget {
        let time = Duration::from_millis(self.limits.search_timeout_ms);
        crate::search::Budget::new(self.limits.search_steps, time).wanted(&self.wanted)
    }

    /// The absolute URL of a resource, or of a version of it.
    #[must_use]
    pub fn url(&self, type_name: &str, id: &str, version: Option<u64>) -> String {
        let base = &self.base;
        version.map_or_else(
            || format!("{base}/{type_name}/{id}"),
            |version| format!("{base}/{type_name}/{id}/_history/{version}"),
        )
    }
}

impl<'a> Request<'a> {
    /// A Bundle of the program's own, to be processed without an answer's resources.
    #[must_use]
    pub fn of_bundle(bundle: Value<'a>) -> Self {
        Self {
            verb: Verb::Post,
            call: Call::Bundle,
            query: Vec::new(),
            conditions: Conditions::default(),
            prefer: Some(Return::Minimal),
            respond_async: false,
            handling: Handling::Strict,
            body: Some(bundle),
            provenance: None,
        }
    }

    /// The body as a resource.
    ///
    /// # Errors
    /// 400 where there is none, or it is not an object.
    pub fn resource(&mut self) -> Result<Object<'a>> {
        match self.body.take() {
            Some(Value::Object(resource)) => Ok(resource),
            Some(_) => Err(Error::new(Category::Invalid, "structure", "The body must be a JSON object.")),
            None => Err(Error::new(Category::Invalid, "required", "The request has no body.")),
        }
    }

    /// Refuses parameters that the interaction does not have, unless handling is lenient. Empty ones do not count.
    ///
    /// # Errors
    /// 400 naming the first.
    pub fn check_parameters(&self) -> Result<()> {
        let Some(known) = parameters(&self.call).filter(|_| self.handling == Handling::Strict) else { return Ok(()) };
        let is_known = |name: &str| matches!(name, "_format" | "_pretty") || known.contains(&name);
        match self.query.iter().find(|(name, value)| !value.is_empty() && !is_known(name)) {
            Some((name, _)) => Err(Error::new(
                Category::Invalid,
                "not-supported",
                format!("{} has no parameter {}.", self.call.code(), shown(name)),
            )),
            None => Ok(()),
        }
    }

    /// The value of the first parameter with this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The parameters that an interaction has beside `_format` and `_pretty`; `None` where they are looked at elsewhere.
const fn parameters(call: &Call) -> Option<&'static [&'static str]> {
    match call {
        Call::Capabilities => Some(&["mode", "_summary", "_elements"]),
        Call::Read { .. } | Call::Vread { .. } => Some(&["_summary", "_elements"]),
        Call::Create { .. } | Call::Update { .. } | Call::Patch { .. } | Call::Delete { .. } | Call::Bundle => {
            Some(&[])
        }
        _ => None,
    }
}

/// Tells the ledger what a request named: the resource, or what was asked.
pub fn tell(call: &Call, query: &[(String, String)], content: &mut Content<'static>) {
    let (subject, is_resource) = call.subject();
    if is_resource {
        content.target = Some(subject.into());
    }
    if !is_resource || matches!(call, Call::Operation { .. } | Call::History { .. }) {
        content.query = Some(asked(call, query).into());
    }
}

/// What a request asked, as a URL relative to the base: `Observation?code=8302-2`.
fn asked(call: &Call, query: &[(String, String)]) -> String {
    let (mut text, _) = call.subject();
    match call {
        Call::Operation { name, .. } => text.extend(["/$", name]),
        Call::History { .. } => text.push_str("/_history"),
        Call::Vread { version, .. } => text.extend(["/_history/", version]),
        _ => {}
    }
    let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    if !pairs.is_empty() {
        text.push('?');
        text.push_str(&pairs);
    }
    text.trim_start_matches('/').to_owned()
}

/// 410, with the version that says so for the `ETag`.
#[must_use]
pub fn gone(version: u64) -> Error {
    let mut error = Error::new(Category::Gone, "deleted", format!("The resource is deleted (version {version})."));
    error.version = Some(version);
    error
}

/// A parameter's name for a message: only what looks like one.
#[must_use]
pub fn shown(name: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte);
    if name.len() <= 64 && name.bytes().all(plain) { name } else { "of that name" }
}

/// 412, saying which condition does not hold.
#[must_use]
pub fn precondition_failed(diagnostics: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Category::PreconditionFailed, "conflict", diagnostics)
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed(_) => Self::unavailable("The store does not accept work.", error),
            StoreError::ReadOnly(_) => Self::unavailable("The store is read-only at the moment.", error),
            StoreError::Busy => Self::unavailable("Too many writes are waiting.", error),
            StoreError::Unreachable(_) => Self::unavailable("The database does not answer.", error),
            StoreError::OutcomeUnknown(_) => {
                let text = "The disk did not answer in time: whether the change was made is not known.";
                Self::from_issues(Category::Unavailable, vec![Issue::error("timeout", text)]).with_log(error)
            }
            StoreError::Damaged(_) | StoreError::Io(_) => Self::internal(error),
        }
    }
}
