//! Which interaction a method and a path ask for: the table of <https://hl7.org/fhir/R4/http.html#summary>.
//!
//! The same table serves requests and the entries of Bundles.

use crate::audit::Event;
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::definitions;
use crate::fhir::reference::is_id;

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `GET`
    Get,
    /// `HEAD`: as `GET`, answered without a body.
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The verb that HTTP spells so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == text)
    }

    /// As HTTP spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it only reads: such a request has no body.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// What an operation is called on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The whole system.
    System,
    /// A type.
    Type(String),
    /// One resource.
    Instance(String, String),
}

/// An interaction with what its URL says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Capabilities,
    Read {
        type_name: String,
        id: String,
    },
    Vread {
        type_name: String,
        id: String,
        version: String,
    },
    Create {
        type_name: String,
    },
    Update {
        type_name: String,
        id: String,
    },
    Patch {
        type_name: String,
        id: String,
    },
    Delete {
        type_name: String,
        id: String,
    },
    ConditionalUpdate {
        type_name: String,
    },
    ConditionalPatch {
        type_name: String,
    },
    ConditionalDelete {
        type_name: String,
    },
    /// `None` is the search over all types.
    Search {
        type_name: Option<String>,
    },
    /// `type_name` is `None` for `*`.
    CompartmentSearch {
        compartment: String,
        id: String,
        type_name: Option<String>,
    },
    History {
        target: Target,
    },
    /// Batch or transaction: the Bundle's type tells.
    Bundle,
    /// How a job is, or its end.
    Job {
        id: String,
    },
    /// A file that a job has made.
    JobFile {
        id: String,
        name: String,
    },
    Operation {
        target: Target,
        name: String,
    },
}

impl Call {
    /// Finds the interaction for a path relative to the base, already split at `/` and percent-decoded.
    ///
    /// # Errors
    /// 404 for a path that means nothing (an unknown type is named), 405 for a method that the path does not have,
    /// 400 for a `PUT` to an id that is none.
    pub fn parse(verb: Verb, path: &[&str]) -> Result<Self> {
        match path {
            [] => Self::at_base(verb),
            ["metadata"] => allow(verb, &[(Verb::Get, Self::Capabilities)]),
            ["_search"] => allow(verb, &[(Verb::Post, Self::Search { type_name: None })]),
            ["_history"] => allow(verb, &[(Verb::Get, Self::History { target: Target::System })]),
            ["_jobs", id] => {
                let job = Self::Job { id: (*id).to_owned() };
                allow(verb, &[(Verb::Get, job.clone()), (Verb::Delete, job)])
            }
            ["_jobs", id, name] => {
                allow(verb, &[(Verb::Get, Self::JobFile { id: (*id).to_owned(), name: (*name).to_owned() })])
            }
            [name] if name.starts_with('$') => Self::operation(verb, Target::System, name),
            [type_name, rest @ ..] => {
                known_type(type_name)?;
                Self::at_type(verb, type_name, rest)
            }
        }
    }

    fn at_base(verb: Verb) -> Result<Self> {
        allow(verb, &[(Verb::Get, Self::Search { type_name: None }), (Verb::Post, Self::Bundle)])
    }

    fn at_type(verb: Verb, name: &str, rest: &[&str]) -> Result<Self> {
        let type_name = || name.to_owned();
        match rest {
            [] => allow(
                verb,
                &[
                    (Verb::Get, Self::Search { type_name: Some(type_name()) }),
                    (Verb::Post, Self::Create { type_name: type_name() }),
                    (Verb::Put, Self::ConditionalUpdate { type_name: type_name() }),
                    (Verb::Patch, Self::ConditionalPatch { type_name: type_name() }),
                    (Verb::Delete, Self::ConditionalDelete { type_name: type_name() }),
                ],
            ),
            ["_search"] => {
                let search = Self::Search { type_name: Some(type_name()) };
                allow(verb, &[(Verb::Post, search.clone()), (Verb::Get, search)])
            }
            ["_history"] => allow(verb, &[(Verb::Get, Self::History { target: Target::Type(type_name()) })]),
            [operation] if operation.starts_with('$') => Self::operation(verb, Target::Type(type_name()), operation),
            [id, rest @ ..] => {
                check_id(verb, id)?;
                Self::at_instance(verb, name, id, rest)
            }
        }
    }

    fn at_instance(verb: Verb, type_name: &str, id: &str, rest: &[&str]) -> Result<Self> {
        let (type_name, id) = (type_name.to_owned(), id.to_owned());
        match rest {
            [] => match verb {
                Verb::Get | Verb::Head => Ok(Self::Read { type_name, id }),
                Verb::Put => Ok(Self::Update { type_name, id }),
                Verb::Patch => Ok(Self::Patch { type_name, id }),
                Verb::Delete => Ok(Self::Delete { type_name, id }),
                Verb::Post => Err(method_not_allowed()),
            },
            ["_history"] => allow(verb, &[(Verb::Get, Self::History { target: Target::Instance(type_name, id) })]),
            ["_history", version] => {
                let version = (*version).to_owned();
                allow(verb, &[(Verb::Get, Self::Vread { type_name, id, version })])
            }
            [operation] if operation.starts_with('$') => {
                Self::operation(verb, Target::Instance(type_name, id), operation)
            }
            [inner] | [inner, "_search"] => {
                if definitions::r4().compartment(&type_name).is_none() {
                    return Err(no_such_url());
                }
                let inner = if *inner == "*" { None } else { Some(known_type(inner)?) };
                let search = Self::CompartmentSearch { compartment: type_name, id, type_name: inner };
                let verb_for = if rest.len() == 2 { Verb::Post } else { Verb::Get };
                allow(verb, &[(verb_for, search)])
            }
            _ => Err(no_such_url()),
        }
    }

    fn operation(verb: Verb, target: Target, name: &str) -> Result<Self> {
        let call = Self::Operation { target, name: name.trim_start_matches('$').to_owned() };
        allow(verb, &[(Verb::Get, call.clone()), (Verb::Post, call)])
    }

    /// Whether it can't be an entry of a Bundle: what it is answered with is no resource.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        match self {
            Self::Bundle | Self::Job { .. } | Self::JobFile { .. } => true,
            Self::Operation { name, .. } => name == "export" || name == "import",
            _ => false,
        }
    }

    /// The resource that is written under an id known beforehand: type and id.
    #[must_use]
    pub fn updates(&self) -> Option<(&str, &str)> {
        match self {
            Self::Update { type_name, id } | Self::Patch { type_name, id } => Some((type_name, id)),
            _ => None,
        }
    }

    /// The one resource that is read: type and id.
    #[must_use]
    pub fn reads(&self) -> Option<(&str, &str)> {
        match self {
            Self::Read { type_name, id }
            | Self::Vread { type_name, id, .. }
            | Self::History { target: Target::Instance(type_name, id) }
            | Self::Operation { target: Target::Instance(type_name, id), .. } => Some((type_name, id)),
            _ => None,
        }
    }

    /// The one type that it is about.
    #[must_use]
    pub fn type_name(&self) -> Option<&str> {
        match self {
            Self::Read { type_name, .. }
            | Self::Vread { type_name, .. }
            | Self::Create { type_name }
            | Self::Update { type_name, .. }
            | Self::ConditionalUpdate { type_name }
            | Self::Patch { type_name, .. }
            | Self::ConditionalPatch { type_name }
            | Self::Delete { type_name, .. }
            | Self::ConditionalDelete { type_name }
            | Self::History { target: Target::Type(type_name) | Target::Instance(type_name, _) }
            | Self::Operation { target: Target::Type(type_name) | Target::Instance(type_name, _), .. } => {
                Some(type_name)
            }
            Self::Search { type_name } | Self::CompartmentSearch { type_name, .. } => type_name.as_deref(),
            Self::Capabilities
            | Self::Bundle
            | Self::Job { .. }
            | Self::JobFile { .. }
            | Self::History { .. }
            | Self::Operation { .. } => None,
        }
    }

    /// What it is to the audit ledger; nothing where it gives out what anybody may know.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        match self {
            Self::Capabilities => None,
            Self::Operation { name, .. } => Some(Event::Operation(name.clone().into())),
            Self::JobFile { .. } => Some(Event::Export),
            other => Some(Event::Interaction(other.code().into())),
        }
    }

    /// What it is asked of, relative to the base, and whether that is one resource: `Patient/1`, `Observation`, `Patient/1/Condition`.
    #[must_use]
    pub fn subject(&self) -> (String, bool) {
        match self {
            Self::CompartmentSearch { compartment, id, type_name } => {
                (format!("{compartment}/{id}/{}", type_name.as_deref().unwrap_or("*")), false)
            }
            Self::Update { type_name, id } | Self::Patch { type_name, id } | Self::Delete { type_name, id } => {
                (format!("{type_name}/{id}"), true)
            }
            Self::JobFile { id, name } => (format!("_jobs/{id}/{name}"), false),
            other => match other.reads() {
                Some((type_name, id)) => (format!("{type_name}/{id}"), true),
                None => (other.type_name().unwrap_or_default().to_owned(), false),
            },
        }
    }

    /// What `CapabilityStatement.rest.interaction.code` and the metrics call it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::Read { .. } => "read",
            Self::Vread { .. } => "vread",
            Self::Create { .. } => "create",
            Self::Update { .. } | Self::ConditionalUpdate { .. } => "update",
            Self::Patch { .. } | Self::ConditionalPatch { .. } => "patch",
            Self::Delete { .. } | Self::ConditionalDelete { .. } => "delete",
            Self::Search { type_name: None } => "search-system",
            Self::Search { .. } | Self::CompartmentSearch { .. } => "search-type",
            Self::History { target: Target::System } => "history-system",
            Self::History { target: Target::Type(_) } => "history-type",
            Self::History { .. } => "history-instance",
            Self::Bundle => "batch",
            Self::Job { .. } => "job",
            Self::JobFile { .. } => "job-file",
            Self::Operation { .. } => "operation",
        }
    }
}

/// The call that belongs to the verb; `HEAD` is answered as `GET`.
fn allow(verb: Verb, calls: &[(Verb, Call)]) -> Result<Call> {
    let wanted = if verb == Verb::Head { Verb::Get } else { verb };
    let found = calls.iter().find(|(allowed, _)| *allowed == wanted);
    found.map(|(_, call)| call.clone()).ok_or_else(method_not_allowed)
}

/// 405: the URL has other methods; [`allowed`] lists them.
#[must_use]
pub fn method_not_allowed() -> Error {
    Error::new(Category::MethodNotAllowed, "not-supported", "This URL does not have this method.")
}

/// The methods that a path (relative to the base) has, as the header `Allow` lists them.
#[must_use]
pub fn allowed(path: &[&str]) -> String {
    let has = |verb: &Verb| Call::parse(*verb, path).is_ok();
    let names: Vec<&str> = Verb::ALL.into_iter().filter(has).map(Verb::name).collect();
    names.join(", ")
}

/// The decoded segments of a path, for [`Call::parse`]. A slash at the start and one at the end mean nothing.
///
/// # Errors
/// 404 for an empty segment elsewhere, 400 for one that is not in UTF-8.
pub fn segments(path: &str) -> Result<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let decode = |segment: &str| match percent_encoding::percent_decode_str(segment).decode_utf8() {
        Ok(text) if !text.is_empty() => Ok(text.into_owned()),
        Ok(_) => Err(no_such_url()),
        Err(_) => Err(Error::invalid("The path is not in UTF-8.")),
    };
    path.split('/').map(decode).collect()
}

fn no_such_url() -> Error {
    Error::new(Category::NotFound, "not-found", "There is nothing at this URL.")
}

/// The name, where R4 has a resource type of that name.
///
/// # Errors
/// 404 naming the type, as far as it looks like one.
pub fn known_type(name: &str) -> Result<String> {
    if definitions::r4().is_resource_type(name) {
        return Ok(name.to_owned());
    }
    let looks_like_a_type = name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let shown = if looks_like_a_type { format!("R4 has no resource type {name}.") } else { return Err(no_such_url()) };
    Err(Error::from_issues(Category::NotFound, vec![Issue::error("not-supported", shown)]))
}

fn check_id(verb: Verb, id: &str) -> Result<()> {
    if is_id(id) {
        return Ok(());
    }
    if verb == Verb::Put {
        return Err(Error::new(
            Category::Invalid,
            "value",
            "An id has 1 to 64 characters out of A-Z, a-z, 0-9, minus and dot.",
        ));
    }
    Err(Error::not_found())
}
