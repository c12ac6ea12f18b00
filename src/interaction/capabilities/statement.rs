//! capabilities: <https://hl7.org/fhir/R4/http.html#capabilities>
//!
//! Builds the `CapabilityStatement` (<https://hl7.org/fhir/R4/capabilitystatement.html>) and the `TerminologyCapabilities`
//! (<https://hl7.org/fhir/R4/terminologycapabilities.html>) from a description of what is built. Nothing is listed that the
//! description does not name.

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;

use crate::fhir::definitions::{self, Operation, ParamType, SearchParameter};
use crate::fhir::tree::{Object, Value};
use rustc_hash::{FxHashMap, FxHashSet};

/// The parameter `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// All of the `CapabilityStatement`.
    Full,
    /// Without the elements that R4 marks as trial use.
    Normative,
    /// The `TerminologyCapabilities`.
    Terminology,
}

impl Mode {
    /// Reads the parameter, which may be absent or empty; `None` for any other text.
    #[must_use]
    pub fn from_code(code: Option<&str>) -> Option<Self> {
        match code {
            None | Some("" | "full") => Some(Self::Full),
            Some("normative") => Some(Self::Normative),
            Some("terminology") => Some(Self::Terminology),
            Some(_) => None,
        }
    }
}

/// What is built.
#[derive(Clone)]
pub struct Capabilities<'a> {
    /// The base URL that clients see.
    pub base_url: &'a str,
    /// The software's name.
    pub software: &'a str,
    /// The software's version.
    pub version: &'a str,
    /// What this installation is, for a person.
    pub description: &'a str,
    /// When the content last changed, as a `dateTime`.
    pub date: &'a str,
    /// `rest.security`, where requests are authorized.
    pub security: Option<Value<'a>>,
    /// Canonical URLs of `CapabilityStatement`s that this server fulfils.
    pub instantiates: &'a [&'a str],
    /// The resource types, in order.
    pub resources: Vec<ResourceSupport<'a>>,
    /// Interactions with the whole system: `transaction`, `batch`, `search-system`, `history-system`.
    pub system_interactions: &'a [&'a str],
    /// Operations, with the levels and the types for which they are built.
    pub operations: &'a [&'a Operation],
    /// Canonical URLs of the compartments that can be searched.
    pub compartments: &'a [&'a str],
    /// Media types of the patches that are understood.
    pub patch_formats: &'a [&'a str],
    /// What holds for resources of every type.
    pub policy: Policy<'a>,
    /// What can be searched.
    pub search: Search<'a>,
    /// Canonical URLs of the code systems that the server knows.
    pub code_systems: &'a [&'a str],
}

/// A resource type.
#[derive(Debug, Clone, Default)]
pub struct ResourceSupport<'a> {
    /// Its name.
    pub type_name: &'a str,
    /// Codes of <http://hl7.org/fhir/restful-interaction>: `read`, `vread` …
    pub interactions: &'a [&'a str],
    /// Canonical URLs of the profiles that are validated.
    pub supported_profiles: Vec<&'a str>,
}

/// What holds for resources of every type.
#[derive(Debug, Clone, Copy, Default)]
// Each stands for an element of `CapabilityStatement.rest.resource`, which are booleans too.
#[allow(clippy::struct_excessive_bools)]
pub struct Policy<'a> {
    /// `no-version`, `versioned` or `versioned-update`.
    pub versioning: Option<&'a str>,
    /// Whether old versions can be read.
    pub read_history: bool,
    /// Whether an update can create.
    pub update_create: bool,
    /// Whether `If-None-Exist` is understood.
    pub conditional_create: bool,
    /// `not-supported`, `modified-since`, `not-match` or `full-support`.
    pub conditional_read: Option<&'a str>,
    /// Whether an update can be conditional.
    pub conditional_update: bool,
    /// `not-supported`, `single` or `multiple`.
    pub conditional_delete: Option<&'a str>,
    /// `literal`, `logical`, `resolves`, `enforced`, `local`.
    pub reference_policy: &'a [&'a str],
}

/// What can be searched.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// Whether a search parameter of the official definitions is built for a resource type.
    pub is_built: &'a dyn Fn(&str, &SearchParameter) -> bool,
    /// Search parameters beside the official ones.
    pub further: &'a [FurtherParameter<'a>],
    /// Whether `_include` and `_revinclude` are built.
    pub includes: bool,
}

/// A search parameter that is not one of the official definitions.
#[derive(Debug, Clone, Copy)]
pub struct FurtherParameter<'a> {
    /// The resource type it is for.
    pub type_name: &'a str,
    /// The name in a query.
    pub code: &'a str,
    /// The canonical URL.
    pub url: &'a str,
    /// The type.
    pub param_type: ParamType,
    /// The types that a reference can point to; none where it can point to any.
    pub targets: &'a [&'static str],
}

impl Capabilities<'_> {
    /// The resource that a mode answers with.
    #[must_use]
    pub fn resource(&self, mode: Mode) -> Value<'_> {
        match mode {
            Mode::Full => self.statement(),
            Mode::Normative => normative(self.statement()),
            Mode::Terminology => self.terminology(),
        }
    }

    fn statement(&self) -> Value<'_> {
        let mut statement = self.head("CapabilityStatement");
        set_codes(&mut statement, "instantiates", self.instantiates);
        self.set_software(&mut statement);
        statement.set("fhirVersion", "4.0.1".into());
        statement.set("format", codes(&["application/fhir+json", "json"]));
        set_codes(&mut statement, "patchFormat", self.patch_formats);
        statement.set("rest", Value::Array(vec![self.rest().into()]));
        statement.into()
    }

    fn terminology(&self) -> Value<'_> {
        let mut resource = self.head("TerminologyCapabilities");
        self.set_software(&mut resource);
        let systems: Vec<_> = self.code_systems.iter().map(|url| crate::tree!({ "uri": (*url) })).collect();
        set_list(&mut resource, "codeSystem", systems);
        resource.into()
    }

    /// What both resources begin with.
    fn head(&self, resource_type: &'static str) -> Object<'_> {
        let mut head = Object::new();
        head.set("resourceType", resource_type.into());
        head.set("url", format!("{}/metadata", self.base_url).into());
        head.set("version", self.version.into());
        head.set("name", resource_type.into());
        head.set("status", "active".into());
        head.set("date", self.date.into());
        head.set("kind", "instance".into());
        head
    }

    fn set_software<'s>(&'s self, resource: &mut Object<'s>) {
        resource.set("software", crate::tree!({ "name": (self.software), "version": (self.version) }));
        let implementation = crate::tree!({ "description": (self.description), "url": (self.base_url) });
        resource.set("implementation", implementation);
    }

    fn rest(&self) -> Object<'_> {
        let reverse = self.reverse_includes();
        let mut rest = Object::new();
        rest.set("mode", "server".into());
        if let Some(security) = &self.security {
            rest.set("security", security.clone());
        }
        let resources = self.resources.iter().map(|support| self.rest_resource(support, &reverse).into());
        set_list(&mut rest, "resource", resources.collect());
        set_list(&mut rest, "interaction", self.system_interactions.iter().map(interaction).collect());
        let everywhere = |operation: &&&Operation| operation.levels.contains(&"system");
        set_list(&mut rest, "operation", self.operations.iter().filter(everywhere).map(|it| operation(it)).collect());
        set_codes(&mut rest, "compartment", self.compartments);
        rest
    }

    fn rest_resource<'s>(
        &'s self,
        support: &'s ResourceSupport<'_>,
        reverse: &FxHashMap<&str, Vec<String>>,
    ) -> Object<'s> {
        let name = support.type_name;
        let parameters = self.search_parameters(support);
        let mut resource = Object::new();
        resource.set("type", name.into());
        resource.set("profile", format!("http://hl7.org/fhir/StructureDefinition/{name}").into());
        set_codes(&mut resource, "supportedProfile", &support.supported_profiles);
        set_list(&mut resource, "interaction", support.interactions.iter().map(interaction).collect());
        if support.interactions.contains(&"update") {
            self.policy.write(&mut resource);
        }
        if self.search.includes && support.interactions.contains(&"search-type") {
            let references = parameters.iter().filter(|parameter| parameter.param_type == ParamType::Reference);
            let includes = references.map(|parameter| Value::from(format!("{name}:{}", parameter.code)));
            set_list(&mut resource, "searchInclude", std::iter::once("*".into()).chain(includes).collect());
            let of_this = reverse.get(name).into_iter().chain(reverse.get("")).flatten();
            set_list(&mut resource, "searchRevInclude", of_this.map(|text| text.clone().into()).collect());
        }
        set_list(&mut resource, "searchParam", parameters.iter().map(Parameter::write).collect());
        let here = |operation: &&&Operation| {
            operation.levels.iter().any(|level| *level != "system")
                && operation.resources.iter().any(|on| *on == name || *on == "Resource")
        };
        set_list(&mut resource, "operation", self.operations.iter().filter(here).map(|it| operation(it)).collect());
        resource
    }

    /// The parameters of a type that can be searched, each name once.
    fn search_parameters(&self, support: &ResourceSupport<'_>) -> Vec<Parameter<'_>> {
        if !support.interactions.contains(&"search-type") {
            return Vec::new();
        }
        let name = support.type_name;
        let official = definitions::r4().search_parameters_of(name).filter(|it| (self.search.is_built)(name, it));
        let official = official.map(|it| Parameter { code: &it.code, url: &it.url, param_type: it.param_type });
        let further = self.search.further.iter().filter(|it| it.type_name == name);
        let further = further.map(|it| Parameter { code: it.code, url: it.url, param_type: it.param_type });
        let mut seen = FxHashSet::default();
        official.chain(further).filter(|parameter| seen.insert(parameter.code)).collect()
    }

    /// For each type, the reference parameters of all types that can point to it; under the empty name those that can point
    /// to anything.
    fn reverse_includes(&self) -> FxHashMap<&'static str, Vec<String>> {
        let mut reverse: FxHashMap<&'static str, Vec<String>> = FxHashMap::default();
        for support in self.resources.iter().filter(|support| support.interactions.contains(&"search-type")) {
            let name = support.type_name;
            for parameter in definitions::r4().search_parameters_of(name) {
                if parameter.param_type != ParamType::Reference || !(self.search.is_built)(name, parameter) {
                    continue;
                }
                let anything = [""];
                let targets = if parameter.targets.is_empty() { &anything[..] } else { &parameter.targets };
                for target in targets {
                    reverse.entry(target).or_default().push(format!("{name}:{}", parameter.code));
                }
            }
            let further = self.search.further.iter().filter(|it| it.type_name == name);
            for parameter in further.filter(|it| it.param_type == ParamType::Reference) {
                let targets = if parameter.targets.is_empty() { &[""][..] } else { parameter.targets };
                for target in targets {
                    reverse.entry(target).or_default().push(format!("{name}:{}", parameter.code));
                }
            }
        }
        reverse
    }
}

impl<'a> Policy<'a> {
    fn write(&self, resource: &mut Object<'a>) {
        if let Some(versioning) = self.versioning {
            resource.set("versioning", versioning.into());
        }
        resource.set("readHistory", self.read_history.into());
        resource.set("updateCreate", self.update_create.into());
        resource.set("conditionalCreate", self.conditional_create.into());
        if let Some(read) = self.conditional_read {
            resource.set("conditionalRead", read.into());
        }
        resource.set("conditionalUpdate", self.conditional_update.into());
        if let Some(delete) = self.conditional_delete {
            resource.set("conditionalDelete", delete.into());
        }
        set_codes(resource, "referencePolicy", self.reference_policy);
    }
}

/// A search parameter as it is listed.
struct Parameter<'a> {
    code: &'a str,
    url: &'a str,
    param_type: ParamType,
}

impl<'a> Parameter<'a> {
    fn write(&self) -> Value<'a> {
        crate::tree!({ "name": (self.code), "definition": (self.url), "type": (self.param_type.code()) })
    }
}

fn interaction<'a>(code: &&'a str) -> Value<'a> {
    crate::tree!({ "code": (*code) })
}

fn operation(operation: &Operation) -> Value<'_> {
    crate::tree!({ "name": (operation.code), "definition": (operation.url) })
}

fn codes<'a>(codes: &[&'a str]) -> Value<'a> {
    Value::Array(codes.iter().map(|code| Value::from(*code)).collect())
}

fn set_codes<'a>(object: &mut Object<'a>, name: &'static str, list: &[&'a str]) {
    if !list.is_empty() {
        object.set(name, codes(list));
    }
}

fn set_list<'a>(object: &mut Object<'a>, name: &'static str, list: Vec<Value<'a>>) {
    if !list.is_empty() {
        object.set(name, Value::Array(list));
    }
}

/// Leaves out what R4's definition of the `CapabilityStatement` marks with the standards status "trial-use".
fn normative(mut statement: Value<'_>) -> Value<'_> {
    const OF_RESOURCE: [&str; 11] = [
        "supportedProfile",
        "versioning",
        "readHistory",
        "updateCreate",
        "conditionalCreate",
        "conditionalRead",
        "conditionalUpdate",
        "conditionalDelete",
        "referencePolicy",
        "searchInclude",
        "searchRevInclude",
    ];
    let rests = statement.as_object_mut().and_then(|it| it.get_mut("rest")).and_then(Value::as_array_mut);
    for rest in rests.into_iter().flatten().filter_map(Value::as_object_mut) {
        rest.remove("security");
        let resources = rest.get_mut("resource").and_then(Value::as_array_mut);
        for resource in resources.into_iter().flatten().filter_map(Value::as_object_mut) {
            resource.retain(|name, _| !OF_RESOURCE.contains(&name));
        }
    }
    statement
}
