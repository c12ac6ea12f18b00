//! What goes wrong on a page, as a page.

use super::{go_to, guarded};
use crate::auth::error::OAuthError;
use crate::auth::keeper::KeeperError;
use crate::error::Error;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use askama::Template;
use std::fmt;

/// Why a page is not shown.
#[derive(Debug)]
pub enum Failure {
    /// Another page has to come first.
    To(String),
    /// It can't be.
    Page(Box<Page>),
}

/// A page that says why.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub struct Page {
    status: u16,
    title: &'static str,
    text: String,
    retry_after_s: Option<u32>,
    who: Option<super::Who>,
}

impl Failure {
    pub(super) fn page(status: u16, title: &'static str, text: impl Into<String>) -> Self {
        Self::Page(Box::new(Page { status, title, text: text.into(), retry_after_s: None, who: None }))
    }

    /// A form that this server did not make for this browser.
    pub(super) fn forged() -> Self {
        let text = "The form is not of this session, or too old. Go back, load the page anew, and try once more.";
        Self::page(403, "This form can’t be taken", text)
    }

    /// A request to authorize that is over.
    pub(super) fn over() -> Self {
        let text =
            "The app’s request was answered already, or took too long. Go back to the app and begin there again.";
        Self::page(400, "This request is over", text)
    }

    /// Whether it is what was typed that can't be taken.
    pub(super) fn is_of_the_form(&self) -> bool {
        matches!(self, Self::Page(page) if page.status == 400)
    }

    /// A fault: the log hears why.
    pub(super) fn internal(log: &str) -> Self {
        Error::internal(log).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Some(log) = &error.log {
            tracing::warn!(category = ?error.category, log, "a page failed");
        }
        let text = error.issues.first().map_or_else(String::new, |issue| issue.diagnostics.to_string());
        let mut failure = Self::page(error.category.status(), "That did not work", text);
        if let Self::Page(page) = &mut failure {
            page.retry_after_s = error.retry_after_s;
        }
        failure
    }
}

impl From<KeeperError> for Failure {
    fn from(error: KeeperError) -> Self {
        Error::from(error).into()
    }
}

impl From<OAuthError> for Failure {
    fn from(error: OAuthError) -> Self {
        if let Some(log) = &error.log {
            tracing::warn!(code = error.code, log, "a page failed");
        }
        Self::page(error.status(), "This request can’t be taken", error.description)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(address) => write!(f, "to {address}"),
            Self::Page(page) => f.write_str(page.title),
        }
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::To(_) => StatusCode::SEE_OTHER,
            Self::Page(page) => StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::To(address) => go_to(address),
            Self::Page(page) => {
                let mut response = guarded(HttpResponse::build(self.status_code()), None);
                if let Some(seconds) = page.retry_after_s {
                    response.insert_header((RETRY_AFTER, seconds));
                }
                // The page is plain text in a frame: it can be rendered always.
                response.content_type("text/html; charset=utf-8").body(page.render().unwrap_or_default())
            }
        }
    }
}
