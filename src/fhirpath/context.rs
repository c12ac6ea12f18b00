//! What an evaluation is given beside its input.

use super::item::{Collection, Item};
use crate::clock::Micros;
use std::borrow::Cow;
use std::cell::Cell;

/// The default of [`Context::steps`].
pub const STEP_LIMIT: u32 = 1_000_000;

/// What the engine asks of its surroundings. Every answer may be "not known"; then the embedded definitions of R4 are asked.
pub trait Hooks {
    /// The resource that a reference points to, for `resolve()`.
    fn resolve<'t>(&'t self, _reference: &str) -> Option<Item<'t>> {
        None
    }

    /// Whether a code, Coding or CodeableConcept is in a value set, for `memberOf()`.
    fn member_of(&self, _coded: &Item<'_>, _value_set: &str) -> Option<bool> {
        None
    }

    /// Whether `general` subsumes `specific` (code, Coding or CodeableConcept), for `subsumes()` and `subsumedBy()`.
    fn subsumes(&self, _general: &Item<'_>, _specific: &Item<'_>) -> Option<bool> {
        None
    }

    /// Whether a resource or element conforms to a profile, for `conformsTo()`.
    fn conforms_to(&self, _item: &Item<'_>, _profile: &str) -> Option<bool> {
        None
    }

    /// Whether the XHTML of a narrative keeps to what FHIR allows, for `htmlChecks()`.
    fn html_checks(&self, _xhtml: &str) -> Option<bool> {
        None
    }

    /// Hears what `trace()` sees. The items can be patient data.
    fn trace(&self, _name: &str, _items: &[Item<'_>]) {}
}

/// Hooks that know nothing.
#[derive(Debug, Clone, Copy)]
struct NoHooks;

impl Hooks for NoHooks {}

/// The surroundings of an evaluation.
#[derive(Clone)]
pub struct Context<'t> {
    /// `%resource`: the resource that contains the input.
    pub resource: Item<'t>,
    /// `%rootResource`: the same, or the one that contains it, where it is a contained resource.
    pub root_resource: Item<'t>,
    /// Further environment variables, without the `%`. They win over the built-in ones.
    pub variables: Vec<(Cow<'t, str>, Collection<'t>)>,
    /// How many steps the evaluations with this context may still take, all together; 0 once one of them asked for too many.
    pub steps: Cell<u32>,
    /// What `now()`, `today()` and `timeOfDay()` answer from.
    pub now: Micros,
    /// What the engine asks.
    pub hooks: &'t dyn Hooks,
}

impl<'t> Context<'t> {
    /// The surroundings of a resource that is not contained in another: no hooks, the time of the epoch.
    #[must_use]
    pub fn new(resource: &Item<'t>) -> Self {
        Self {
            resource: resource.clone(),
            root_resource: resource.clone(),
            variables: Vec::new(),
            steps: Cell::new(STEP_LIMIT),
            now: Micros::default(),
            hooks: &NoHooks,
        }
    }

    /// The same with hooks.
    #[must_use]
    pub const fn with_hooks(mut self, hooks: &'t dyn Hooks) -> Self {
        self.hooks = hooks;
        self
    }

    /// The same at a time.
    #[must_use]
    pub const fn at(mut self, now: Micros) -> Self {
        self.now = now;
        self
    }

    /// The same with one more environment variable (`name` without `%`).
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'t, str>>, value: Collection<'t>) -> Self {
        self.variables.push((name.into(), value));
        self
    }
}
