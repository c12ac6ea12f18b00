//! Distils the definitions of FHIR R4 into the compact text files that the binary embeds.
//!
//! ```sh
//! npm pack hl7.fhir.r4.examples@4.0.1
//! cargo run --example distil -- hl7.fhir.r4.examples-4.0.1.tgz
//! ```
//!
//! It reads the official package (CC0) and writes `profiles/r4/*.txt` and `terminology/r4/*.txt`: no prose, one fact a
//! line, sorted, the same bytes each time. The formats are told in `src/fhir/definitions/read.rs`, which reads them.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::io::Read as _;
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
/// Definitions by a key that sorts them.
type Sorted = BTreeMap<String, Value>;

const STRUCTURES: &str = "http://hl7.org/fhir/StructureDefinition/";
/// Code systems under these are HL7's own and are embedded with their codes; of others only the head is.
const HL7_SYSTEMS: [&str; 2] = ["http://hl7.org/fhir/", "http://terminology.hl7.org/"];

/// What the package holds of each kind, example instances left out.
#[derive(Default)]
struct Package {
    structures: Sorted,
    parameters: Sorted,
    compartments: Sorted,
    operations: Sorted,
    value_sets: Sorted,
    code_systems: Sorted,
}

fn main() -> Result<()> {
    let path = env::args().nth(1).ok_or("usage: distil PATH-TO-hl7.fhir.r4.examples-4.0.1.tgz")?;
    let package = read(&path)?;
    fs::create_dir_all("profiles/r4")?;
    fs::create_dir_all("terminology/r4")?;
    fs::write("profiles/r4/types.txt", types(&package))?;
    fs::write("profiles/r4/search-parameters.txt", search_parameters(&package))?;
    fs::write("profiles/r4/compartments.txt", compartments(&package))?;
    fs::write("profiles/r4/operations.txt", operations(&package))?;
    fs::write("terminology/r4/code-systems.txt", code_systems(&package))?;
    fs::write("terminology/r4/value-sets.txt", value_sets(&package))?;
    Ok(())
}

fn read(path: &str) -> Result<Package> {
    let mut package = Package::default();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(path)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let resource: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))?;
        let (kind, url) = (str(&resource, "resourceType"), str(&resource, "url"));
        let official = |prefix: &str| url.starts_with(&format!("{prefix}{kind}/"));
        let (place, key) = match kind {
            "StructureDefinition" if official("http://hl7.org/fhir/") => (&mut package.structures, url),
            "SearchParameter" if official("http://hl7.org/fhir/") => (&mut package.parameters, url),
            "CompartmentDefinition" if official("http://hl7.org/fhir/") => (&mut package.compartments, url),
            "OperationDefinition" if official("http://hl7.org/fhir/") => (&mut package.operations, url),
            "ValueSet" if HL7_SYSTEMS.iter().any(|prefix| official(prefix)) => (&mut package.value_sets, url),
            "CodeSystem" => (&mut package.code_systems, url),
            _ => continue,
        };
        let key = key.to_owned();
        if place.insert(key.clone(), resource).is_some() {
            return Err(format!("{key} is defined twice").into());
        }
    }
    // Profiles, logical models and what the specification gives as an example of a definition.
    package.structures.retain(|_, def| str(def, "derivation") != "constraint" && str(def, "kind") != "logical");
    package.parameters.retain(|url, def| !url.contains("/example") && list(def, "base").next().is_some());
    package.compartments.retain(|url, _| !url.ends_with("/example"));
    package.operations.retain(|url, _| !url.ends_with("-example"));
    Ok(package)
}

fn str<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn words<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    list(value, name).filter_map(Value::as_str).collect()
}

/// The first line of a file.
fn heading(content: &str) -> String {
    format!("{content} From hl7.fhir.r4.examples 4.0.1 (CC0) by `cargo run --example distil`.\n")
}

/// On one line, each run of blanks as one.
fn one_line(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// One structure definition and what its lines are made from.
struct Structure<'a> {
    name: &'a str,
    /// `primitive`, `complex` or `resource`.
    kind: &'static str,
    elements: Vec<&'a Value>,
}

fn types(package: &Package) -> String {
    let mut out = heading("# The types of FHIR R4 and their elements.");
    for definition in package.structures.values() {
        let structure = Structure::new(definition);
        let base = last(str(definition, "baseDefinition"));
        let note = if flag(definition, "abstract") { " abstract" } else { "" };
        let shown_base = if base.is_empty() { "-" } else { base };
        let _ = writeln!(out, "\n{} {} {shown_base}{note}", structure.kind, structure.name);
        structure.write_members(structure.name, base, package, &mut out);
        for element in &structure.elements {
            let path = str(element, "path");
            if path.contains('.') && structure.is_nested(path) {
                let base = list(element, "type").map(|t| str(t, "code")).next().unwrap_or("Element");
                let _ = writeln!(out, "\ncomplex {path} {base}");
                structure.write_members(path, base, package, &mut out);
            }
        }
    }
    out
}

impl<'a> Structure<'a> {
    fn new(definition: &'a Value) -> Self {
        let kind = match str(definition, "kind") {
            "primitive-type" => "primitive",
            "complex-type" => "complex",
            _ => "resource",
        };
        let elements = definition.get("snapshot").map(|snapshot| list(snapshot, "element").collect());
        Self { name: str(definition, "type"), kind, elements: elements.unwrap_or_default() }
    }

    /// A line for each direct element of `path`, those left out that the base type gives unchanged.
    fn write_members(&self, path: &str, base: &str, package: &Package, out: &mut String) {
        let base = package.structures.get(&format!("{STRUCTURES}{base}")).map(Structure::new);
        let inherited = base.map(|base| base.lines(base.name)).unwrap_or_default();
        for line in self.lines(path).iter().filter(|line| !inherited.contains(line)) {
            let _ = writeln!(out, " {line}");
        }
    }

    fn lines(&self, path: &str) -> Vec<String> {
        let inside = format!("{path}.");
        let direct = |element: &&&Value| {
            let rest = str(element, "path").strip_prefix(&inside);
            rest.is_some_and(|rest| !rest.contains('.'))
        };
        self.elements.iter().filter(direct).filter_map(|element| self.line(element)).collect()
    }

    /// `None` for the value of a primitive, which JSON does not have as a member.
    fn line(&self, element: &Value) -> Option<String> {
        let path = str(element, "path");
        let types: Vec<String> = match str(element, "contentReference").strip_prefix('#') {
            Some(target) => vec![target.to_owned()],
            None if self.is_nested(path) => vec![path.to_owned()],
            None => list(element, "type").filter_map(|t| self.type_name(t, path)).collect(),
        };
        if types.is_empty() {
            return None;
        }
        let min = element.get("min").and_then(Value::as_u64).unwrap_or_default();
        let mut line = format!("{} {min}..{} {}", last_part(path), str(element, "max"), types.join("|"));
        if let Some(binding) = element.get("binding").filter(|binding| str(binding, "strength") == "required") {
            let _ = write!(line, " required={}", unversioned(str(binding, "valueSet")));
        }
        if flag(element, "isSummary") {
            line.push_str(" summary");
        }
        if flag(element, "isModifier") {
            line.push_str(" modifier");
        }
        Some(line)
    }

    fn is_nested(&self, path: &str) -> bool {
        let inside = format!("{path}.");
        self.elements.iter().any(|element| str(element, "path").starts_with(&inside))
    }

    /// `Reference(Patient,Group)`; `None` for the value of a primitive.
    fn type_name(&self, reference: &Value, path: &str) -> Option<String> {
        let code = str(reference, "code");
        if code.starts_with("http://hl7.org/fhirpath/") {
            // The package says `string`; R4's prose says that the logical id of a resource is an `id`.
            let is_logical_id = self.kind == "resource" && path.matches('.').count() == 1;
            return match last_part(path) {
                "value" => None,
                "url" => Some("uri".to_owned()),
                _ => Some(if is_logical_id { "id" } else { "string" }.to_owned()),
            };
        }
        let targets: Vec<&str> = words(reference, "targetProfile").into_iter().map(last).collect();
        // `Resource` means any type, as no target at all does.
        let any = targets.is_empty() || targets.contains(&"Resource");
        Some(if any { code.to_owned() } else { format!("{code}({})", targets.join(",")) })
    }
}

fn unversioned(url: &str) -> &str {
    url.split('|').next().unwrap_or_default()
}

fn last(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or_default()
}

fn search_parameters(package: &Package) -> String {
    let mut out = heading("# The search parameters of FHIR R4.");
    for (url, definition) in &package.parameters {
        let _ = writeln!(out, "\n{url} {} {}", str(definition, "code"), str(definition, "type"));
        let _ = writeln!(out, " base {}", words(definition, "base").join(" "));
        let expression = one_line(str(definition, "expression"));
        if !expression.is_empty() {
            let _ = writeln!(out, " expression {expression}");
        }
        let targets = words(definition, "target");
        if !targets.is_empty() {
            let _ = writeln!(out, " target {}", targets.join(" "));
        }
        for part in list(definition, "component") {
            let _ = writeln!(out, " component {} {}", str(part, "definition"), one_line(str(part, "expression")));
        }
    }
    out
}

fn compartments(package: &Package) -> String {
    let mut out = heading("# The compartments of FHIR R4.");
    for (url, definition) in &package.compartments {
        let _ = writeln!(out, "\n{url} {}", str(definition, "code"));
        for resource in list(definition, "resource") {
            let params = words(resource, "param");
            if !params.is_empty() {
                let _ = writeln!(out, " {} {}", str(resource, "code"), params.join(" "));
            }
        }
    }
    out
}

fn operations(package: &Package) -> String {
    let mut out = heading("# The operations of FHIR R4.");
    for (url, definition) in &package.operations {
        let levels = ["system", "type", "instance"].into_iter().filter(|level| flag(definition, level));
        let levels = levels.collect::<Vec<_>>().join(",");
        let _ = writeln!(out, "{url} {} {levels} {}", str(definition, "code"), words(definition, "resource").join(","));
    }
    out
}

fn code_systems(package: &Package) -> String {
    let mut out = heading("# Code systems of FHIR R4 and HL7.");
    for (url, definition) in &package.code_systems {
        if str(definition, "content") == "supplement" {
            continue;
        }
        let case = match definition.get("caseSensitive").and_then(Value::as_bool) {
            Some(true) => "case-sensitive",
            Some(false) => "case-insensitive",
            None => "case-unknown",
        };
        let _ = writeln!(out, "\n{url} {case}{}", if is_embedded(definition) { "" } else { " not-embedded" });
        if is_embedded(definition) {
            concepts(definition, 1, &mut out);
        }
    }
    out
}

/// Whether all codes of a code system are in what is written here.
fn is_embedded(system: &Value) -> bool {
    let url = str(system, "url");
    str(system, "content") == "complete" && HL7_SYSTEMS.iter().any(|prefix| url.starts_with(prefix))
}

fn concepts(parent: &Value, depth: usize, out: &mut String) {
    for concept in list(parent, "concept") {
        // Two tables of the package hold codes with stray no-break blanks, which no `code` can have.
        let (code, display) = (str(concept, "code"), one_line(str(concept, "display")));
        if code.contains('\u{a0}') {
            continue;
        }
        let shown = if display == code || display.is_empty() { String::new() } else { format!("\t{display}") };
        let _ = writeln!(out, "{:depth$}{code}{shown}", "");
        concepts(concept, depth + 1, out);
    }
}

fn value_sets(package: &Package) -> String {
    let mut out = heading("# Value sets over the embedded code systems.");
    let required = required_bindings(package);
    for (url, definition) in &package.value_sets {
        match value_set_lines(definition, required.contains(url.as_str()), package) {
            Some(lines) => {
                let _ = write!(out, "\n{url}\n{lines}");
            }
            None if required.contains(url.as_str()) => {
                let _ = writeln!(out, "\n{url} not-enumerable");
            }
            None => {}
        }
    }
    out
}

fn required_bindings(package: &Package) -> BTreeSet<&str> {
    let elements = package.structures.values().flat_map(|definition| Structure::new(definition).elements);
    let bindings = elements.filter_map(|element| element.get("binding"));
    let required = bindings.filter(|binding| str(binding, "strength") == "required");
    required.map(|binding| unversioned(str(binding, "valueSet"))).collect()
}

/// A line for each rule of the composition; `None` where not all its codes are known from what is embedded.
/// Codes of other systems than HL7's are listed only for required bindings (`listed`).
fn value_set_lines(definition: &Value, listed: bool, package: &Package) -> Option<String> {
    let compose = definition.get("compose")?;
    let mut out = String::new();
    for (sign, name) in [('+', "include"), ('-', "exclude")] {
        for rule in list(compose, name) {
            for line in rule_lines(rule, listed, package)? {
                let _ = writeln!(out, " {sign} {line}");
            }
        }
    }
    Some(out)
}

fn rule_lines(rule: &Value, listed: bool, package: &Package) -> Option<Vec<String>> {
    let system = str(rule, "system");
    let (codes, imported) = (list(rule, "concept"), words(rule, "valueSet"));
    let known = package.code_systems.get(system).is_some_and(is_embedded);
    let codes: Vec<&str> = codes.map(|concept| str(concept, "code")).collect();
    let filters: Vec<&Value> = list(rule, "filter").collect();
    match (system.is_empty(), codes.is_empty(), filters.as_slice(), imported.as_slice()) {
        (true, true, [], [url]) => {
            let inner = package.value_sets.get(unversioned(url))?;
            value_set_lines(inner, listed, package)?;
            Some(vec![format!("valueset {}", unversioned(url))])
        }
        (false, false, [], []) if known || listed => Some(vec![format!("{system}\t{}", codes.join("\t"))]),
        (false, true, [], []) if known => Some(vec![system.to_owned()]),
        (false, true, [filter], []) if known && str(filter, "property") == "concept" => match str(filter, "op") {
            "is-a" => Some(vec![format!("{system} is-a {}", str(filter, "value"))]),
            "descendent-of" => Some(vec![format!("{system} descendent-of {}", str(filter, "value"))]),
            _ => None,
        },
        _ => None,
    }
}
