//! What is asked for, held against a provision: sets of resources of one type, by their search keys.

use super::judge::Reading;
use super::read::{Code, Codes, Data, Provision};
use crate::clock::Micros;
use crate::error::Result;
use crate::fhir::definitions::{self, ParamType};
use crate::key::reference::{Target, matching_resource, matching_uri, target_in};
use crate::key::token::matching_code;
use crate::key::{Expr, KeyRange, care, id_key, prefix_of};
use rustc_hash::FxHashMap;
use std::sync::LazyLock;

const RESOURCE_TYPES: [&str; 2] = ["http://hl7.org/fhir/resource-types", "http://hl7.org/fhir/fhir-types"];
const MEDIA_TYPES: &str = "urn:ietf:bcp:13";
const URIS: &str = "urn:ietf:rfc:3986";
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
/// The labels of confidentiality, the least strict first.
const STRICTNESS: [&str; 6] = ["U", "L", "M", "N", "R", "V"];

/// The parameters under which a resource has the codes of what it is about.
const CODES: [&str; 8] =
    ["code", "combo-code", "vaccine-code", "type", "category", "reason-code", "value-concept", "combo-value-concept"];
/// The types of documents, and the parameters that tell of which kind one is.
const DOCUMENTS: [(&str, &[&str]); 5] = [
    ("Composition", &["type", "category"]),
    ("DiagnosticReport", &["code", "category"]),
    ("DocumentManifest", &["type"]),
    ("DocumentReference", &["type", "category"]),
    ("Media", &["type"]),
];
/// The parameters that name who made a resource.
const AUTHORS: [&str; 12] = [
    "asserter",
    "author",
    "creator",
    "enterer",
    "informer",
    "performer",
    "prescriber",
    "recorder",
    "requester",
    "results-interpreter",
    "sender",
    "source",
];

/// The resources that meet a condition: surely, and perhaps. The first are among the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Those that surely do: what permits holds for them.
    pub low: Expr,
    /// Those that do, or of which it can't be told: what denies holds for them.
    pub high: Expr,
}

impl Bounds {
    fn exactly(expr: Expr) -> Self {
        Self { low: expr.clone(), high: expr }
    }

    fn any(parts: Vec<Self>) -> Self {
        let (low, high): (Vec<_>, Vec<_>) = parts.into_iter().map(|part| (part.low, part.high)).unzip();
        Self { low: Expr::or(low), high: Expr::or(high) }
    }

    /// What can't be told of any resource.
    fn unclear() -> Self {
        Self { low: Expr::none(), high: Expr::All }
    }
}

impl Reading<'_> {
    /// Each condition of a provision that is about what is asked for, by the name of its element.
    ///
    /// # Errors
    /// When what it rests on can't be read.
    pub fn of_content(
        &self,
        provision: &Provision,
        type_name: &str,
        now: Micros,
    ) -> Result<Vec<(&'static str, Bounds)>> {
        let mut conditions = Vec::new();
        let mut add = |name, codes: &Option<Codes>, of: &dyn Fn(&Code) -> Bounds| {
            if let Some(codes) = codes {
                let unclear = codes.unclear.then(Bounds::unclear);
                conditions.push((name, Bounds::any(codes.known.iter().map(of).chain(unclear).collect())));
            }
        };
        let is_permit = provision.kind != Some(super::Kind::Deny);
        add("securityLabel", &provision.labels, &|code| label(code, is_permit));
        add("class", &provision.classes, &|code| class(code, type_name));
        add("code", &provision.codes, &|code| self::code(code, type_name));
        if let Some(span) = provision.data_period {
            let (low, high) = (care::within(type_name, span, now), care::overlapping(type_name, span, now));
            conditions.push(("dataPeriod", Bounds { low, high }));
        }
        if let Some(data) = &provision.data {
            let parts = data.iter().map(|data| self.datum(data, type_name)).collect::<Result<_>>()?;
            conditions.push(("data", Bounds::any(parts)));
        }
        Ok(conditions)
    }

    fn datum(&self, data: &Data, type_name: &str) -> Result<Bounds> {
        let Some(reference) = &data.reference else { return Ok(Bounds::unclear()) };
        let Target::Local { type_name: named, id, .. } = Target::read(reference, Some(self.base)) else {
            return Ok(Bounds::unclear());
        };
        let itself = (named == type_name).then(|| KeyRange::exactly(&id_key(id)));
        let pointing = |codes: &[&str]| -> Vec<_> {
            codes.iter().map(|code| matching_resource(named, id).under(&prefix_of(code))).collect()
        };
        let also = match &*data.meaning {
            "instance" => Vec::new(),
            "dependents" => pointing(references(type_name)),
            "authoredby" => {
                let by: Vec<_> = references(type_name).iter().copied().filter(|code| AUTHORS.contains(code)).collect();
                return Ok(Bounds::exactly(Expr::any(pointing(&by))));
            }
            "related" => self.referred(named, id, type_name)?,
            _ => return Ok(Bounds::unclear()),
        };
        Ok(Bounds::exactly(Expr::any(itself.into_iter().chain(also))))
    }

    /// The resources of a type that a stored resource refers to.
    fn referred(&self, named: &str, id: &str, type_name: &str) -> Result<Vec<KeyRange>> {
        let Some(keys) = self.stored.keys(named, id)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for code in references(named) {
            let prefix = [&prefix_of(code)[..], b"r"].concat();
            let targets = keys.starting_with(&prefix).filter_map(|key| target_in(key, code.len()));
            found.extend(targets.filter(|(kind, _)| *kind == type_name).map(|(_, id)| KeyRange::exactly(&id_key(id))));
        }
        Ok(found)
    }
}

static REFERENCES: LazyLock<FxHashMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let of_type = |name: &&'static str| {
        let own = definitions::r4().search_parameters_of(name).filter(|own| own.param_type == ParamType::Reference);
        (*name, own.map(|own| &*own.code).collect())
    };
    definitions::r4().resource_types().iter().map(of_type).collect()
});

/// The parameters of a type that refer.
fn references(type_name: &str) -> &'static [&'static str] {
    REFERENCES.get(type_name).map(Vec::as_slice).unwrap_or_default()
}

/// A code in any of some token parameters of a type. Without a system it may or may not be meant.
fn coded(code: &Code, parameters: impl IntoIterator<Item = &'static str>, type_name: &str) -> Bounds {
    let is_token = |name: &&str| {
        definitions::r4().search_parameter(type_name, name).is_some_and(|own| own.param_type == ParamType::Token)
    };
    let range = matching_code(code.system.as_deref(), &code.code);
    let any = Expr::any(parameters.into_iter().filter(is_token).map(|name| range.clone().under(&prefix_of(name))));
    match code.system {
        Some(_) => Bounds::exactly(any),
        None => Bounds { low: Expr::none(), high: any },
    }
}

fn code(code: &Code, type_name: &str) -> Bounds {
    coded(code, CODES, type_name)
}

/// A label, and what stands below it. A label of confidentiality that permits is a high-water mark: it stands for less strict ones too.
/// One that denies stands for stricter ones.
fn label(code: &Code, is_permit: bool) -> Bounds {
    let labelled = |label: &str| {
        let code = Code { system: code.system.clone(), code: label.into() };
        let range = matching_code(code.system.as_deref(), &code.code).under(&prefix_of("_security"));
        Expr::Keys(range)
    };
    let system = code.system.as_deref().unwrap_or_default();
    let mark = STRICTNESS.iter().position(|label| **label == *code.code).filter(|_| system == CONFIDENTIALITY);
    let all = match (mark, definitions::r4().code_system(system)) {
        (Some(mark), _) => {
            let (below, above) = STRICTNESS.split_at(mark);
            let among = if is_permit { below } else { above };
            Expr::or(among.iter().map(|label| labelled(label)).chain([labelled(&code.code)]))
        }
        (None, Some(known)) => {
            let below = known.concepts.iter().filter(|own| known.is_a(own.code, &code.code));
            Expr::or(below.map(|own| labelled(own.code)).chain([labelled(&code.code)]))
        }
        (None, None) => labelled(&code.code),
    };
    match code.system {
        Some(_) => Bounds::exactly(all),
        None => Bounds { low: Expr::none(), high: all },
    }
}

/// A type of resources, a profile, a media type of documents, or a kind of documents.
fn class(code: &Code, type_name: &str) -> Bounds {
    match code.system.as_deref() {
        Some(system) if RESOURCE_TYPES.contains(&system) => {
            if !definitions::r4().is_resource_type(&code.code) {
                return Bounds::unclear();
            }
            Bounds::exactly(if *code.code == *type_name { Expr::All } else { Expr::none() })
        }
        Some(MEDIA_TYPES) => {
            coded(&Code { system: None, code: code.code.clone() }, ["contenttype"], type_name).surely()
        }
        Some(URIS) => Bounds::exactly(Expr::Keys(matching_uri(&code.code).under(&prefix_of("_profile")))),
        Some(_) => {
            let kinds = DOCUMENTS.iter().find(|(name, _)| *name == type_name).map(|(_, codes)| *codes);
            coded(code, kinds.unwrap_or_default().iter().copied(), type_name)
        }
        None => Bounds::unclear(),
    }
}

impl Bounds {
    fn surely(self) -> Self {
        Self::exactly(self.high)
    }
}
