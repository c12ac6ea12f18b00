//! What US Core's CapabilityStatement for servers demands (SHALL): each search parameter, combination, prefix and include, with a
//! case that matches and one that does not, made from the package's SearchParameters and example instances.

use crate::support::{Answer, Client, Process, free_address};
use flate2::read::GzDecoder;
use pharos::fhir::parse::parse;
use pharos::fhirpath::{Context, Expression, Item};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

const EXPECTATION: &str = "http://hl7.org/fhir/StructureDefinition/capabilitystatement-expectation";
const COMBINATION: &str = "http://hl7.org/fhir/StructureDefinition/capabilitystatement-search-parameter-combination";

struct Guide {
    parameters: BTreeMap<String, Value>,
    statement: Value,
    examples: Vec<Value>,
}

impl Guide {
    fn read(file: &Path) -> Self {
        let mut guide = Self { parameters: BTreeMap::new(), statement: Value::Null, examples: Vec::new() };
        let mut archive = tar::Archive::new(GzDecoder::new(std::fs::File::open(file).unwrap()));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let Ok(resource) = serde_json::from_slice::<Value>(&bytes) else { continue };
            if path.starts_with("package/example/") && resource["id"].is_string() {
                guide.examples.push(resource);
            } else if path == "package/CapabilityStatement-us-core-server.json" {
                guide.statement = resource;
            } else if resource["resourceType"] == "SearchParameter" {
                guide.parameters.insert(resource["url"].as_str().unwrap().to_owned(), resource);
            }
        }
        guide
    }

    fn of_type<'g>(&'g self, type_name: &'g str) -> impl Iterator<Item = &'g Value> {
        self.examples.iter().filter(move |example| example["resourceType"] == type_name)
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_demanded(element: &Value) -> bool {
    items(&element["extension"]).iter().any(|it| it["url"] == EXPECTATION && it["valueCode"] == "SHALL")
}

/// A parameter that is searched for: its name and its SearchParameter.
type Part<'g> = (&'g str, &'g Value);

/// The searches demanded of a type: single parameters and combinations.
fn searches<'g>(guide: &'g Guide, resource: &'g Value) -> Vec<Vec<Part<'g>>> {
    let named = |name: &str| {
        let found = items(&resource["searchParam"]).iter().find(|it| it["name"] == name).unwrap();
        let definition = &guide.parameters[found["definition"].as_str().unwrap()];
        (found["name"].as_str().unwrap(), definition)
    };
    let single = items(&resource["searchParam"]).iter().filter(|it| is_demanded(it));
    let mut searches: Vec<_> = single.map(|it| vec![named(it["name"].as_str().unwrap())]).collect();
    for combination in items(&resource["extension"]).iter().filter(|it| it["url"] == COMBINATION && is_demanded(it)) {
        let required = items(&combination["extension"]).iter().filter(|it| it["url"] == "required");
        searches.push(required.map(|it| named(it["valueString"].as_str().unwrap())).collect());
    }
    searches
}

/// A value by which the instance is found, as the parameter's own expression gives it.
fn value(instance: &Value, (name, parameter): Part<'_>) -> Option<String> {
    if name == "_id" {
        return instance["id"].as_str().map(str::to_owned);
    }
    let bytes = serde_json::to_vec(instance).unwrap();
    let tree = parse(&bytes, 64).unwrap();
    let root = Item::resource(tree.as_object().unwrap());
    // Without a server nothing resolves; of what a reference points to only the type matters here.
    let expression = parameter["expression"].as_str().unwrap().replace(".where(resolve() is Patient)", "");
    let expression = Expression::compile(&expression).unwrap();
    let found = expression.evaluate(&Context::new(&root), root.clone()).unwrap();
    found.iter().find_map(|item| {
        let Item::Node(node) = item else { return None };
        let json = match (node.primitive(), item) {
            (Some(value), _) => pharos::fhir::write::to_vec(value),
            (None, Item::Node(pharos::fhirpath::Node { content: pharos::fhirpath::Content::Object(object), .. })) => {
                pharos::fhir::write::to_vec(&pharos::fhir::tree::Value::Object((*object).clone()))
            }
            _ => return None,
        };
        text(parameter["type"].as_str().unwrap(), &serde_json::from_slice(&json).unwrap())
    })
}

fn text(param_type: &str, found: &Value) -> Option<String> {
    let own = |value: &Value| value.as_str().map(str::to_owned);
    let pair = |value: &Value, code: &str| match (value["system"].as_str(), value[code].as_str()) {
        (Some(system), Some(code)) => Some(format!("{system}|{code}")),
        (None, Some(code)) => Some(code.to_owned()),
        _ => None,
    };
    match param_type {
        "token" => own(found)
            .or_else(|| pair(&found["coding"][0], "code"))
            .or_else(|| pair(found, "code"))
            .or_else(|| pair(found, "value")),
        "reference" => own(&found["reference"]).or_else(|| own(found)),
        "date" => {
            let date = own(found).or_else(|| own(&found["start"])).or_else(|| own(&found["end"]))?;
            Some(date.split('T').next().unwrap().to_owned())
        }
        "string" => ["family", "city", "state", "text"]
            .iter()
            .fold(own(found), |known, name| known.or_else(|| own(&found[*name]))),
        _ => None,
    }
}

/// A resource with the elements that the parameters are about, where these are plain paths: for a type without examples.
fn minimal(type_name: &str, parts: &[Part<'_>]) -> Option<Value> {
    let mut made = json!({"resourceType": type_name, "id": "made"});
    for (_, parameter) in parts {
        let element = parameter["expression"].as_str()?.strip_prefix(type_name)?.strip_prefix('.')?;
        let value = match parameter["type"].as_str()? {
            "token" => json!([{"coding": [{"system": "http://example.org/codes", "code": "made"}]}]),
            "reference" => json!({"reference": format!("{}/made", parameter["target"][0].as_str()?)}),
            _ => return None,
        };
        made[element] = value;
    }
    Some(made)
}

/// A value that nothing has.
fn no_value(parameter: &Value) -> &'static str {
    match parameter["type"].as_str().unwrap() {
        "date" => "1801-01-01",
        "reference" => "Patient/nobody-at-all",
        _ => "nobody-at-all",
    }
}

/// The comparators demanded of a date, each with a date that matches any of this century and one that does not.
fn prefixes(parameter: &Value) -> Vec<(String, &'static str, &'static str)> {
    let demanded = items(&parameter["comparator"]).iter().zip(items(&parameter["_comparator"]));
    let demanded = demanded.filter(|(_, about)| is_demanded(about)).map(|(code, _)| code.as_str().unwrap().to_owned());
    demanded
        .map(|code| match code.as_str() {
            "gt" | "ge" | "sa" | "ne" => (code, "1801-01-01", "2990-01-01"),
            _ => (code, "2990-01-01", "1801-01-01"),
        })
        .collect()
}

struct Run<'c> {
    server: &'c Client,
    cases: usize,
}

impl Run<'_> {
    fn ask(&self, type_name: &str, pairs: &[(&str, String)]) -> Answer {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs).append_pair("_count", "1000");
        self.server.get(&format!("/{type_name}?{}", query.finish())).expect(200)
    }

    fn finds(&mut self, instance: &Value, pairs: &[(&str, String)], expected: bool) {
        self.cases += 1;
        let (type_name, id) = (instance["resourceType"].as_str().unwrap(), instance["id"].as_str().unwrap());
        let answer = self.ask(type_name, pairs);
        assert_eq!(answer.ids().iter().any(|found| found == id), expected, "{type_name}/{id} by {pairs:?}");
        assert!(!answer.text().contains("\"mode\":\"outcome\""), "a warning in {answer}");
    }

    /// One search, as it is, with each part that does not match, and with each prefix.
    fn search(&mut self, instance: &Value, parts: &[Part<'_>], values: &[String]) {
        let pairs: Vec<_> = parts.iter().map(|part| part.0).zip(values.iter().cloned()).collect();
        self.finds(instance, &pairs, true);
        for (at, (_, parameter)) in parts.iter().enumerate() {
            let with = |value: &str| {
                let mut pairs = pairs.clone();
                value.clone_into(&mut pairs[at].1);
                pairs
            };
            self.finds(instance, &with(no_value(parameter)), false);
            for (prefix, good, bad) in prefixes(parameter) {
                self.finds(instance, &with(&format!("{prefix}{good}")), true);
                if prefix != "ne" {
                    self.finds(instance, &with(&format!("{prefix}{bad}")), false);
                }
            }
        }
    }

    /// What a search for one resource includes.
    fn included(&mut self, instance: &Value, kind: &'static str, rule: &str) -> Vec<Value> {
        self.cases += 1;
        let (type_name, id) = (instance["resourceType"].as_str().unwrap(), instance["id"].as_str().unwrap());
        let answer = self.ask(type_name, &[("_id", id.to_owned()), (kind, rule.to_owned())]).json();
        let included = items(&answer["entry"]).iter().filter(|entry| entry["search"]["mode"] == "include");
        included.map(|entry| entry["resource"].clone()).collect()
    }
}

fn demanded<'g>(resource: &'g Value, element: &str) -> Vec<&'g str> {
    let about = items(&resource[format!("_{element}")]);
    let rules = items(&resource[element]).iter().zip(about);
    rules.filter(|(_, about)| is_demanded(about)).filter_map(|(rule, _)| rule.as_str()).collect()
}

#[test]
fn all_that_us_core_demands_of_searches_is_answered() {
    let package = std::env::var_os("PHAROS_US_CORE_PACKAGE")
        .map_or_else(|| "../shared/data/packages/hl7.fhir.us.core-6.1.0.tgz".into(), PathBuf::from);
    if !package.is_file() {
        println!("skipped: PHAROS_US_CORE_PACKAGE names no package hl7.fhir.us.core 6.1.0 (.tgz)");
        return;
    }
    let guide = Guide::read(&package);
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("store").display());
    for expected in ["209 resources installed, 0 were", "0 resources installed, 209 were"] {
        let arguments = ["package", "install", package.to_str().unwrap(), "--store", &store];
        let output = Command::new(env!("CARGO_BIN_EXE_pharos")).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains(expected), "{said}");
    }
    let address = free_address().to_string();
    let process = Process::start(["serve", "--insecure-open", "--listen", &address, "--store", &store]);
    process.lines_until("serving FHIR");
    let server = Client::new(format!("http://{address}/fhir"));
    for example in &guide.examples {
        let (type_name, id) = (example["resourceType"].as_str().unwrap(), example["id"].as_str().unwrap());
        let answer = server.put(&format!("/{type_name}/{id}")).json(example).send();
        assert!(answer.status() < 300, "{answer}");
    }
    states_what_it_fulfils(&server, &guide);

    let mut run = Run { server: &server, cases: 0 };
    let mut without = Vec::new();
    for resource in items(&guide.statement["rest"][0]["resource"]) {
        let type_name = resource["type"].as_str().unwrap();
        for parts in searches(&guide, resource) {
            let values = |instance| parts.iter().map(|part| value(instance, *part)).collect::<Option<Vec<_>>>();
            let found = guide.of_type(type_name).find_map(|instance| Some((instance, values(instance)?)));
            let made = minimal(type_name, &parts);
            let made = made.as_ref().and_then(|made| Some((made, values(made)?)));
            if let (None, Some((made, _))) = (&found, &made) {
                server.put(&format!("/{type_name}/made")).json(made).send();
            }
            match found.or(made) {
                Some((instance, values)) => run.search(instance, &parts, &values),
                None => without.push(format!("{type_name} {:?}", parts.iter().map(|part| part.0).collect::<Vec<_>>())),
            }
        }
        for rule in demanded(resource, "searchRevInclude") {
            reverse_include(&mut run, &guide, type_name, rule);
        }
        for rule in demanded(resource, "searchInclude") {
            let found = guide.of_type(type_name).any(|instance| !run.included(instance, "_include", rule).is_empty());
            if !found {
                without.push(format!("{type_name} _include={rule}"));
            }
        }
    }
    println!("{} searches; no example has what these ask for: {without:?}", run.cases);
    assert!(run.cases > 200, "only {} cases", run.cases);
    assert_eq!(without, Vec::<String>::new());
}

/// A resource with a Provenance brings it along, and another does not.
fn reverse_include(run: &mut Run<'_>, guide: &Guide, type_name: &str, rule: &str) {
    let mut instances = guide.of_type(type_name);
    let Some(instance) = instances.next() else { return };
    let target = format!("{type_name}/{}", instance["id"].as_str().unwrap());
    let mut provenance = guide.of_type("Provenance").next().unwrap().clone();
    provenance["target"] = json!([{ "reference": target }]);
    let id = run.server.post("/Provenance").json(provenance).expect(201).id();
    let has = |included: Vec<Value>| included.iter().any(|resource| resource["id"] == id.as_str());
    assert!(has(run.included(instance, "_revinclude", rule)), "{rule} of {target}");
    if let Some(other) = instances.next() {
        assert!(!has(run.included(other, "_revinclude", rule)), "{rule} of another {type_name}");
    }
}

/// `/metadata` names the statement that it fulfils, and the profiles.
fn states_what_it_fulfils(server: &Client, guide: &Guide) {
    let statement = server.get("/metadata").expect(200).json();
    assert!(items(&statement["instantiates"]).contains(&guide.statement["url"]), "{}", statement["instantiates"]);
    for resource in items(&guide.statement["rest"][0]["resource"]) {
        let own = items(&statement["rest"][0]["resource"]).iter().find(|it| it["type"] == resource["type"]).unwrap();
        for profile in items(&resource["supportedProfile"]).iter().filter(|it| it.to_string().contains("us-core-")) {
            assert!(items(&own["supportedProfile"]).contains(profile), "{profile}");
        }
    }
}
