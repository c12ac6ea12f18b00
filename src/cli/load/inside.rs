//! The store on this machine, without a server: the same interactions, under a grant for the operator.

use super::target::{Reason, Stored, Target};
use super::{Failure, Settings};
use crate::app::App;
use crate::audit::Event;
use crate::auth::agent::Agent;
use crate::auth::grant::Grant;
use crate::bulk::import::{Matching, Validation};
use crate::cli::user::said;
use crate::cli::{serve, tenant_named};
use crate::error::Error;
use crate::fhir::parse::parse;
use crate::interaction::call::Call;
use crate::interaction::{Request, perform};
use crate::operation::import::batch::{Outcome, Rules, store};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// An opened store.
pub(in crate::cli) struct Inside {
    app: Arc<App>,
    grant: Grant,
    runtime: Runtime,
}

impl Inside {
    /// Opens the store that the settings name.
    pub(in crate::cli) fn open(settings: Settings, tenant: Option<&str>) -> Result<Self, Failure> {
        let config = settings.load()?;
        serve::log_to_stderr(config.log_format);
        let app = serve::open_to_write(config)?;
        let tenant = tenant_named(&app, tenant)?;
        app.tenants().of(tenant).check_not_deleted().map_err(said)?;
        let grant = Grant::unrestricted(tenant);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(app.tell_unwrapped(&Agent::operator())).map_err(said)?;
        Ok(Self { app, grant, runtime })
    }
}

impl Inside {
    /// Records what was changed as a whole.
    pub(in crate::cli) fn note(&self, what: &'static str, name: &str, note: String) -> Result<(), Failure> {
        self.runtime.block_on(serve::note(&self.app, self.grant.tenant(), what, name, note))
    }

    fn reason(&self, error: &Error) -> Reason {
        Reason {
            status: format!("{:?}", error.category),
            text: error.issues.iter().map(describe).collect::<Vec<_>>().join("; "),
            unreachable: self.app.store().health().is_err(),
        }
    }
}

impl Target for Inside {
    fn answer(&self, bundle: &[u8]) -> Result<Vec<u8>, Reason> {
        let refused = |error: Error| self.reason(&error);
        let limits = &self.app.config.limits;
        let body = parse(bundle, limits.json_depth).map_err(|error| refused(Error::invalid(error.to_string())))?;
        let request = Request::of_bundle(body);
        let context =
            self.app.context(self.grant.clone(), serve::trail(&self.app, Call::Bundle.event())).map_err(refused)?;
        let answer = self.runtime.block_on(perform(&context, request)).map_err(refused)?;
        Ok(answer.body.unwrap_or_default())
    }

    /// As an import stores them.
    fn lines(&self, lines: &[&[u8]]) -> Vec<Result<Stored, Reason>> {
        let trail = serve::trail(&self.app, Some(Event::Operation("import".into())));
        let rules = Rules { type_name: None, validation: Validation::Structure, matching: Matching::Id };
        let stored = match self.app.context(self.grant.clone(), trail) {
            Ok(context) => self.runtime.block_on(store(&context, rules, lines)),
            Err(error) => (Vec::new(), Err(error)),
        };
        each(stored, lines.len(), |error| self.reason(error))
    }

    fn close(&self) -> Result<(), Failure> {
        self.app.stop();
        Ok(self.app.store().close()?)
    }
}

/// What became of each of some lines: those before an error are as they are told, the rest is not stored.
fn each(
    (outcomes, rest): (Vec<Outcome>, crate::error::Result<()>),
    lines: usize,
    reason: impl Fn(&Error) -> Reason,
) -> Vec<Result<Stored, Reason>> {
    let told = |outcome| match outcome {
        Outcome::Stored => Ok(Stored::New),
        Outcome::Unchanged => Ok(Stored::Unchanged),
        Outcome::Refused(error) => Err(reason(&error)),
    };
    let mut each: Vec<_> = outcomes.into_iter().map(told).collect();
    if let Err(error) = rest {
        each.resize(lines, Err(reason(&error)));
    }
    each
}

/// What an issue says, with the element that it is about.
pub(in crate::cli) fn describe(issue: &crate::error::Issue) -> String {
    let about = issue.expression.as_ref().map(|expression| format!(" ({expression})")).unwrap_or_default();
    format!("{}{about}", issue.diagnostics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_before_an_error_is_told_so() {
        let outcomes = vec![Outcome::Stored, Outcome::Refused(Error::invalid("bad")), Outcome::Unchanged];
        let reason = |error: &Error| Reason {
            status: format!("{:?}", error.category),
            text: error.issues.iter().map(describe).collect(),
            unreachable: false,
        };
        let told = each((outcomes, Err(Error::unavailable("gone", "disk"))), 5, reason);
        let is_stored: Vec<_> = told.iter().map(Result::is_ok).collect();
        assert_eq!(is_stored, [true, false, true, false, false]);
        assert_eq!(told.get(1).map(|one| one.as_ref().unwrap_err().text.as_str()), Some("bad"));
        assert!(told.get(3..).unwrap().iter().all(|one| one.as_ref().unwrap_err().text == "gone"));
    }
}
