//! The search parameters of a tenant: the official ones, and further ones that its stored SearchParameters define.
//!
//! A set never changes; a change of a SearchParameter makes a new set. Each key list tells by a marker for each further
//! parameter that it was made with that very definition: so it is seen which resources are still to be reindexed.

use super::bytes::END;
use super::define;
use crate::fhir::definitions::{self, SearchParameter};
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use aws_lc_rs::digest::{SHA256, digest};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the keys start with that tell which further parameters a key list was made with.
const MARKER: &[u8] = b"_indexed";

/// The search parameters of a tenant.
#[derive(Debug, Default)]
pub struct Parameters {
    /// By resource type.
    further: FxHashMap<&'static str, Vec<Further>>,
}

/// A further parameter of one resource type.
#[derive(Debug)]
pub struct Further {
    id: Arc<str>,
    definition: Arc<SearchParameter>,
    marker: Box<[u8]>,
    is_whole: AtomicBool,
}

impl Further {
    /// The id of the SearchParameter that defines it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The definition.
    #[must_use]
    pub fn definition(&self) -> &SearchParameter {
        &self.definition
    }

    /// The key of every resource whose keys were made with this definition.
    #[must_use]
    pub fn marker(&self) -> &[u8] {
        &self.marker
    }

    /// Whether all resources of the type are known to have the marker.
    pub fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Relaxed)
    }

    /// Notes that all resources of the type have the marker, and that none can come without it any more.
    pub fn set_whole(&self) {
        self.is_whole.store(true, Ordering::Relaxed);
    }
}

/// The type that the audit ledger is served as. Its keys are made when an entry is recorded, the same for all tenants: further parameters do
/// not apply to it, and a search that asks for one names what is not known.
pub const LEDGER: &str = "AuditEvent";

impl Parameters {
    /// The official parameters and these, each with the id of the SearchParameter that defines it. Where two define the same
    /// code of a type the one with the lesser id counts; an official code keeps its official meaning.
    #[must_use]
    pub fn new(mut defined: Vec<(String, SearchParameter)>) -> Self {
        defined.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut parameters = Self::default();
        for (id, definition) in defined {
            parameters.add(&id, definition);
        }
        parameters
    }

    /// The official parameters and those of stored SearchParameters, each with its id and its JSON. One that can't take effect
    /// is passed over.
    #[must_use]
    pub fn of_stored<'s>(stored: impl IntoIterator<Item = (&'s str, &'s [u8])>) -> Self {
        let mut defined = Vec::new();
        for (id, json) in stored {
            let Ok(Value::Object(resource)) = parse(json, usize::MAX) else { continue };
            match define::definition(&resource) {
                Ok(Some(definition)) => defined.push((id.to_owned(), definition)),
                Ok(None) => {}
                Err(error) => tracing::error!(%id, %error, "a stored SearchParameter can't take effect"),
            }
        }
        Self::new(defined)
    }

    fn add(&mut self, id: &str, definition: SearchParameter) {
        let (id, marker) = (Arc::from(id), marker(&definition));
        let definition = Arc::new(definition);
        for type_name in types_of(&definition).filter(|name| *name != LEDGER) {
            if self.parameter(type_name, &definition.code).is_some() {
                continue;
            }
            let (id, definition) = (Arc::clone(&id), Arc::clone(&definition));
            let further = Further { id, definition, marker: marker.clone(), is_whole: AtomicBool::new(false) };
            self.further.entry(type_name).or_default().push(further);
        }
    }

    /// Takes over from an older set what is known to be whole.
    pub fn take_over(&self, older: &Self) {
        for (type_name, further) in self.further.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one))) {
            let same = older.further(type_name).iter().find(|known| known.marker == further.marker);
            if same.is_some_and(Further::is_whole) {
                further.set_whole();
            }
        }
    }

    /// The further parameters of a resource type.
    #[must_use]
    pub fn further(&self, type_name: &str) -> &[Further] {
        self.further.get(type_name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The resource types that have further parameters, sorted.
    #[must_use]
    pub fn types_with_further(&self) -> Vec<&'static str> {
        let mut types: Vec<_> = self.further.keys().copied().collect();
        types.sort_unstable();
        types
    }

    /// The parameters of a resource type, the official ones first.
    pub fn of<'p>(&'p self, type_name: &'p str) -> impl Iterator<Item = &'p SearchParameter> {
        let further = self.further(type_name).iter().map(Further::definition);
        let official = definitions::r4().search_parameters_of(type_name).map(|found| -> &'p SearchParameter { found });
        official.chain(further)
    }

    /// The parameter of a resource type by its name in queries.
    #[must_use]
    pub fn parameter(&self, type_name: &str, code: &str) -> Option<&SearchParameter> {
        let official = definitions::r4().search_parameter(type_name, code);
        official.or_else(|| self.further_named(type_name, code).map(Further::definition))
    }

    /// The further parameter of a resource type by its name in queries.
    #[must_use]
    pub fn further_named(&self, type_name: &str, code: &str) -> Option<&Further> {
        self.further(type_name).iter().find(|further| further.definition.code == code)
    }
}

/// The resource types that a parameter is for, those of `Resource` and `DomainResource` unfolded.
pub fn types_of(definition: &SearchParameter) -> impl Iterator<Item = &'static str> {
    let definitions = definitions::r4();
    let is_for = |name: &&'static str| definition.base.iter().any(|base| definitions.is_subtype_of(name, base));
    definitions.resource_types().iter().copied().filter(is_for)
}

/// What the key lists made with a definition have: a hash of all that decides on the keys.
fn marker(definition: &SearchParameter) -> Box<[u8]> {
    let SearchParameter { code, param_type, expression, components, .. } = definition;
    let composite = components.iter().map(|(url, text)| format!("{url} {text}")).collect::<Vec<_>>();
    let text = [code, param_type.code(), expression, &composite.join("\n")].join("\n");
    let hash = digest(&SHA256, text.as_bytes());
    [MARKER, &[END], hash.as_ref().get(..8).unwrap_or_default()].concat().into()
}
