//! Errors as values: a category, FHIR issues for the client, and a message for the log.
//!
//! [`Category::status`] is the only table from a failure to a status. No patient data belongs into either message.

use std::borrow::Cow;
use std::fmt;

/// What kind of failure this is; decides the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// The request can't be understood, or its content is structurally invalid.
    Invalid,
    /// No proof, or a bad proof, of who asks.
    Unauthenticated,
    /// Who asks is known and may not.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// There was such a thing.
    Gone,
    /// The URL exists, but not with this method.
    MethodNotAllowed,
    /// None of the accepted formats can be produced.
    NotAcceptable,
    /// The change collides with another.
    Conflict,
    /// A condition of the request does not hold.
    PreconditionFailed,
    /// A named limit is exceeded.
    TooLarge,
    /// There is no more room for what is to be stored (RFC 4918 section 11.5).
    InsufficientStorage,
    /// The format of the body is not supported.
    UnsupportedMediaType,
    /// Well-formed, but against a rule or a profile.
    Unprocessable,
    /// Too many requests.
    TooManyRequests,
    /// A fault of the server.
    Internal,
    /// The server can't do this now.
    Unavailable,
    /// The server does not support this.
    NotImplemented,
    /// The server's time limit passed.
    Timeout,
    /// The client took too long to send its request.
    RequestTimeout,
    /// The URL is longer than the limit.
    UriTooLong,
}

impl Category {
    /// The one table from category to HTTP status, for answers and for the entries of Bundles.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::RequestTimeout => 408,
            Self::Conflict => 409,
            Self::Gone => 410,
            Self::PreconditionFailed => 412,
            Self::TooLarge => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::Unprocessable => 422,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::NotImplemented => 501,
            Self::Unavailable | Self::Timeout => 503,
            Self::InsufficientStorage => 507,
        }
    }
}

/// `OperationOutcome.issue.severity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The action failed.
    Error,
    /// The action went on, but should be looked at.
    Warning,
    /// Nothing is wrong.
    Information,
}

/// One `OperationOutcome.issue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// A code of <http://hl7.org/fhir/issue-type>.
    pub code: &'static str,
    /// For a person; names elements and parameters, never their values where these can be patient data.
    pub diagnostics: Cow<'static, str>,
    /// The element concerned, as a `FHIRPath`.
    pub expression: Option<String>,
}

impl Issue {
    /// An issue of severity `error`.
    pub fn error(code: &'static str, diagnostics: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Error, code, diagnostics: diagnostics.into(), expression: None }
    }

    /// An issue of severity `warning`.
    pub fn warning(code: &'static str, diagnostics: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, diagnostics) }
    }

    /// An issue of severity `information`.
    pub fn information(code: &'static str, diagnostics: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Information, ..Self::error(code, diagnostics) }
    }

    /// The same issue, naming an element.
    #[must_use]
    pub fn at(mut self, expression: impl Into<String>) -> Self {
        self.expression = Some(expression.into());
        self
    }
}

/// A failed request.
#[derive(Debug, Clone)]
pub struct Error {
    /// Decides the status.
    pub category: Category,
    /// What the client hears; at least one.
    pub issues: Vec<Issue>,
    /// What the log hears beside it.
    pub log: Option<String>,
    /// When to try again, in seconds (`Retry-After`).
    pub retry_after_s: Option<u32>,
    /// The version that the answer tells of (`ETag`): that of a deletion.
    pub version: Option<u64>,
}

/// The result of anything that can fail a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with one issue.
    pub fn new(category: Category, code: &'static str, diagnostics: impl Into<Cow<'static, str>>) -> Self {
        Self::from_issues(category, vec![Issue::error(code, diagnostics)])
    }

    /// An error with these issues.
    #[must_use]
    pub const fn from_issues(category: Category, issues: Vec<Issue>) -> Self {
        Self { category, issues, log: None, retry_after_s: None, version: None }
    }

    /// 400: the request can't be understood.
    pub fn invalid(diagnostics: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Category::Invalid, "invalid", diagnostics)
    }

    /// 404, saying no more than that.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Category::NotFound, "not-found", "There is no such resource.")
    }

    /// 500: the log hears `log`, the client only that something went wrong.
    pub fn internal(log: impl fmt::Display) -> Self {
        Self::new(Category::Internal, "exception", "The server failed to handle the request.").with_log(log)
    }

    /// 503: the log hears `log`.
    pub fn unavailable(diagnostics: impl Into<Cow<'static, str>>, log: impl fmt::Display) -> Self {
        let mut error = Self::new(Category::Unavailable, "transient", diagnostics).with_log(log);
        error.retry_after_s = Some(5);
        error
    }

    /// The same error with a message for the log.
    #[must_use]
    pub fn with_log(mut self, log: impl fmt::Display) -> Self {
        self.log = Some(log.to_string());
        self
    }

    /// The same error, its first issue naming an element.
    #[must_use]
    pub fn at(mut self, expression: impl Into<String>) -> Self {
        if let Some(issue) = self.issues.first_mut() {
            issue.expression = Some(expression.into());
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.category)?;
        for issue in &self.issues {
            write!(f, ": {}", issue.diagnostics)?;
            if let Some(expression) = &issue.expression {
                write!(f, " ({expression})")?;
            }
        }
        self.log.as_ref().map_or(Ok(()), |log| write!(f, " [{log}]"))
    }
}

impl std::error::Error for Error {}
