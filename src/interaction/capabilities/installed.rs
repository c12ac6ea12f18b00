//! What the stored profiles and CapabilityStatements of a tenant add to what the server states.

use crate::error::Result;
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use crate::interaction::body_of;
use crate::key::last_updated::ALL;
use crate::key::reference::url_in;
use crate::key::{KeyList, prefix_of};
use crate::store::{Rid, View};
use std::collections::BTreeMap;

/// What is installed.
#[derive(Debug, Default)]
pub struct Installed {
    /// The CapabilityStatements that state requirements for servers, by canonical URL.
    pub instantiates: Vec<String>,
    /// By resource type, the profiles on it.
    pub profiles: BTreeMap<String, Vec<String>>,
}

impl Installed {
    /// Reads a tenant's. Profiles are told by their search keys, of which there are few; CapabilityStatements are read whole.
    ///
    /// # Errors
    /// When the store fails.
    pub fn read(view: &dyn View) -> Result<Self> {
        let mut installed = Self::default();
        for rid in view.rids("StructureDefinition", ALL, Rid(0)) {
            let Some(keys) = view.keys(rid?)? else { continue };
            if let Some((type_name, url)) = profile(&keys) {
                installed.profiles.entry(type_name).or_default().push(url);
            }
        }
        for rid in view.rids("CapabilityStatement", ALL, Rid(0)) {
            let Some(version) = view.current(rid?)? else { continue };
            let bytes = body_of(&version)?;
            let Ok(statement) = parse(&bytes, usize::MAX) else { continue };
            installed.instantiates.extend(requirements_for_servers(&statement));
        }
        installed.profiles.values_mut().for_each(|urls| urls.sort_unstable());
        installed.instantiates.sort_unstable();
        Ok(installed)
    }
}

/// The type and the URL of a profile of a resource type that is not retired.
fn profile(keys: &KeyList) -> Option<(String, String)> {
    let has = |code: &str, value: &str| {
        let start = [&prefix_of(code)[..], b"c", value.as_bytes()].concat();
        keys.starting_with(&start).next().is_some()
    };
    let uri = |code: &str| {
        let key = keys.starting_with(&[&prefix_of(code)[..], b"u"].concat()).next()?;
        url_in(key, code.len()).map(str::to_owned)
    };
    if !has("derivation", "constraint") || !has("kind", "resource") || has("status", "retired") {
        return None;
    }
    Some((uri("type")?, uri("url")?))
}

/// The URL of a CapabilityStatement of kind `requirements` that is about servers and is not retired.
fn requirements_for_servers(statement: &Value<'_>) -> Option<String> {
    let text = |value: &Value<'_>, name| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let is_for_servers = |rest: &&Value<'_>| text(rest, "mode").as_deref() == Some("server");
    let rests = statement.get("rest").map(Value::items).unwrap_or_default();
    let is_wanted = text(statement, "kind").as_deref() == Some("requirements")
        && text(statement, "status").as_deref() != Some("retired")
        && rests.iter().find(is_for_servers).is_some();
    text(statement, "url").filter(|_| is_wanted)
}
