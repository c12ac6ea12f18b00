//! Random requests, with what the model expects of their answers.

use super::model::{Name, Rights, World, element_of_patient, matches, text};
use super::population::{Rng, TYPES, any_id, any_type, criterion, resource};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What an answer has to be.
#[derive(Debug)]
pub enum Expect {
    /// Whatever the twin answers.
    Any,
    Status(u16),
    /// 200 or 201.
    Written,
    /// 200 with exactly these matches, over all pages.
    Matches(BTreeSet<Name>),
    /// 200 with this total.
    Total(usize),
    /// 200 with exactly these versions, over all pages.
    Versions(BTreeSet<(Name, usize)>),
}

/// One request.
#[derive(Debug)]
pub struct Ask {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<(&'static str, Value)>,
    /// The letters of which one has to reach what the answer shows.
    pub letters: &'static str,
    pub expect: Expect,
}

impl Ask {
    fn get(path: String, letters: &'static str, expect: Expect) -> Self {
        Self { method: "GET", path, headers: Vec::new(), body: None, letters, expect }
    }

    fn write(method: &'static str, path: String, body: Option<Value>, expect: Expect) -> Self {
        let body = body.map(|body| ("application/fhir+json", body));
        Self { method, path, headers: Vec::new(), body, letters: "rsu", expect }
    }
}

/// What requests are made from.
pub struct Maker<'m> {
    pub rng: &'m mut Rng,
    pub world: &'m World,
    pub rights: &'m Rights,
}

const OBSERVATION_CHAINS: [&str; 5] = [
    "subject:Patient.name=",
    "performer:Practitioner.name=",
    "encounter:Encounter.subject:Patient.name=",
    "has-member:Observation.subject:Patient.name=",
    "subject.name=",
];

impl Maker<'_> {
    fn name(&mut self) -> Name {
        let type_name = any_type(self.rng);
        (type_name.to_owned(), any_id(self.rng, type_name))
    }

    fn family(&mut self) -> &'static str {
        self.rng.pick(&["Abel", "Baker", "Cole", "Dunn"])
    }

    /// A request that changes nothing.
    pub fn read(&mut self) -> Ask {
        match self.rng.below(24) {
            0..=2 => self.plain_read(),
            3 => self.vread(),
            4 => self.instance_history(),
            5 => self.type_history(),
            6..=9 => self.plain_search(),
            10 => self.count(),
            11 => self.system_search(),
            12 => self.compartment_search(),
            13 | 14 => self.chain(),
            15 | 16 => self.include(),
            17 => self.filter(),
            18 => self.everything(),
            19 => self.latest(),
            20 => self.meta(),
            21 => self.contained(),
            22 => self.batch_of_reads(),
            _ => self.sorted(),
        }
    }

    fn plain_read(&mut self) -> Ask {
        let name = self.name();
        let version = 1 + self.rng.below(3);
        let (status, live) = match self.world.0.get(&name).and_then(|versions| versions.last()) {
            _ if !self.rights.covers('r', &name.0) => (403, false),
            Some(last) if self.rights.reaches(self.world, 'r', &name) => {
                (if last.is_some() { 200 } else { 410 }, last.is_some())
            }
            _ => (404, false),
        };
        let mut ask = Ask::get(format!("/{}/{}", name.0, name.1), "r", Expect::Status(status));
        match self.rng.below(5) {
            0 => {
                ask.headers.push(("If-None-Match", format!("W/\"{version}\"")));
                if live && self.world.0[&name].len() == version {
                    ask.expect = Expect::Status(304);
                }
            }
            1 => ask.path += self.rng.pick(&["?_summary=true", "?_elements=id", "?_summary=text"]),
            _ => {}
        }
        ask
    }

    fn vread(&mut self) -> Ask {
        let name = self.name();
        let number = 1 + self.rng.below(4);
        let version = self.world.0.get(&name).and_then(|versions| versions.get(number - 1));
        let status = match version {
            _ if !self.rights.covers('r', &name.0) => 403,
            Some(version) if self.rights.sees(self.world, 'r', &name, number) => {
                if version.is_some() {
                    200
                } else {
                    410
                }
            }
            _ => 404,
        };
        Ask::get(format!("/{}/{}/_history/{number}", name.0, name.1), "r", Expect::Status(status))
    }

    fn seen_versions(&self, letter: char, of: impl Fn(&Name) -> bool) -> Expect {
        let all = self.world.0.iter().filter(|(name, _)| of(name));
        let all = all.flat_map(|(name, versions)| (1..=versions.len()).map(move |number| (name.clone(), number)));
        Expect::Versions(all.filter(|(name, number)| self.rights.sees(self.world, letter, name, *number)).collect())
    }

    fn instance_history(&mut self) -> Ask {
        let name = self.name();
        let count = self.rng.pick(&["", "?_count=1", "?_count=2"]);
        let expect = if !self.rights.covers('r', &name.0) {
            Expect::Status(403)
        } else if self.rights.reaches(self.world, 'r', &name) {
            self.seen_versions('r', |other| *other == name)
        } else {
            Expect::Status(404)
        };
        Ask::get(format!("/{}/{}/_history{count}", name.0, name.1), "r", expect)
    }

    fn type_history(&mut self) -> Ask {
        let count = self.rng.pick(&["?_count=1000", "?_count=7"]);
        if self.rng.chance(50) {
            return Ask::get(format!("/_history{count}"), "s", self.seen_versions('s', |_| true));
        }
        let type_name = any_type(self.rng);
        let expect = if self.rights.covers('s', type_name) {
            self.seen_versions('s', |name| name.0 == type_name)
        } else {
            Expect::Status(403)
        };
        Ask::get(format!("/{type_name}/_history{count}"), "s", expect)
    }

    /// The resources that a search may find, of those that meet the criteria.
    fn found(&self, type_name: &str, criteria: &[String]) -> BTreeSet<Name> {
        let meets = |content: &Value| {
            criteria.iter().all(|one| one.split_once('=').is_some_and(|(name, value)| matches(content, name, value)))
        };
        let live = self.world.0.iter().filter_map(|(name, versions)| Some((name, versions.last()?.as_ref()?)));
        let of_type = live.filter(|(name, _)| name.0 == type_name);
        let found = of_type.filter(|(_, it)| meets(it) && self.rights.may(self.world, 's', it));
        found.map(|(name, _)| name.clone()).collect()
    }

    fn criteria(&mut self, type_name: &str) -> Vec<String> {
        (0..self.rng.below(3)).map(|_| criterion(self.rng, type_name)).collect()
    }

    fn plain_search(&mut self) -> Ask {
        let type_name = any_type(self.rng);
        let criteria = self.criteria(type_name);
        let is_covered = self.rights.covers('s', type_name);
        let expect = if is_covered { Expect::Matches(self.found(type_name, &criteria)) } else { Expect::Status(403) };
        let shape = self.rng.pick(&[
            "_count=2",
            "_count=1000",
            "_sort=_id",
            "_sort=-_lastUpdated",
            "_total=accurate&_count=3",
            "_count=4&_sort=_tag",
        ]);
        let query = criteria.into_iter().chain([shape.to_owned()]).collect::<Vec<_>>().join("&");
        if self.rng.chance(20) {
            let body = Some(("application/x-www-form-urlencoded", Value::from(query)));
            return Ask { method: "POST", body, ..Ask::get(format!("/{type_name}/_search"), "s", expect) };
        }
        Ask::get(format!("/{type_name}?{query}"), "s", expect)
    }

    fn count(&mut self) -> Ask {
        let type_name = any_type(self.rng);
        let criteria = self.criteria(type_name);
        let is_covered = self.rights.covers('s', type_name);
        let expect =
            if is_covered { Expect::Total(self.found(type_name, &criteria).len()) } else { Expect::Status(403) };
        let shape = (self.rng.pick(&["_summary=count", "_count=0", "_total=accurate"])).to_owned();
        let query = criteria.into_iter().chain([shape]).collect::<Vec<_>>().join("&");
        Ask::get(format!("/{type_name}?{query}"), "s", expect)
    }

    fn system_search(&mut self) -> Ask {
        let tag = self.rng.pick(&["_tag=a", "_tag:not=a", "_id=obs1", "_lastUpdated=gt2000"]);
        let types = match self.rng.below(3) {
            0 => String::new(),
            1 => format!("&_type={}", any_type(self.rng)),
            _ => format!("&_type={},{}", any_type(self.rng), any_type(self.rng)),
        };
        let shape = self.rng.pick(&["", "&_total=accurate", "&_summary=count", "&_count=3"]);
        Ask::get(format!("?{tag}{types}{shape}"), "s", Expect::Any)
    }

    fn compartment_search(&mut self) -> Ask {
        let compartment =
            self.rng.pick(&["Patient", "Patient", "Patient", "Encounter", "Practitioner", "RelatedPerson", "Device"]);
        let id = any_id(self.rng, compartment);
        let type_name = self.rng.pick(&[
            "Observation",
            "Condition",
            "Encounter",
            "*",
            "Patient",
            "DocumentReference",
            "Provenance",
            "List",
        ]);
        let shape = self.rng.pick(&["", "?_total=accurate", "?_summary=count"]);
        Ask::get(format!("/{compartment}/{id}/{type_name}{shape}"), "s", Expect::Any)
    }

    fn chain(&mut self) -> Ask {
        let family = self.family();
        let id = any_id(self.rng, "Patient");
        let code = self.rng.pick(&["laboratory", "vital-signs"]);
        let query = match self.rng.below(9) {
            0..=2 => format!("Observation?{}{family}", self.rng.pick(&OBSERVATION_CHAINS)),
            3 => format!("Patient?_has:Observation:patient:category={code}"),
            4 => format!("Patient?_has:Observation:patient:_has:Provenance:target:agent:Practitioner.name={family}"),
            5 => format!("Encounter?subject:Patient.gender{}=female", self.rng.pick(&["", ":not"])),
            6 => format!("Practitioner?_has:PractitionerRole:practitioner:active{}=true", self.rng.pick(&["", ":not"])),
            7 => format!("Condition?subject:Patient._id={id}&encounter:missing={}", self.rng.pick(&["true", "false"])),
            _ => format!("Binary?_has:DocumentReference:relatesto:_tag={}&_total=accurate", self.rng.pick(&["a", "b"])),
        };
        let shape = self.rng.pick(&["", "&_total=accurate", "&_summary=count", "&_count=1"]);
        Ask::get(format!("/{query}{shape}"), "s", Expect::Any)
    }

    fn include(&mut self) -> Ask {
        let query = self.rng.pick(&[
            "Observation?_include=Observation:subject&_include=Observation:performer",
            "Observation?_include=*",
            "Observation?_include=Observation:encounter&_include:iterate=Encounter:subject&_include:iterate=Patient:general-practitioner",
            "Patient?_revinclude=Observation:subject&_revinclude=Condition:patient",
            "Patient?_revinclude=*",
            "Patient?_revinclude=Observation:subject&_revinclude:iterate=Provenance:target&_revinclude:iterate=List:item",
            "Encounter?_revinclude=Observation:encounter&_include=Encounter:subject",
            "List?_include=List:item&_include:iterate=Observation:subject",
            "PractitionerRole?_include=PractitionerRole:practitioner&_revinclude=CareTeam:participant",
            "Task?_include=Task:focus&_include=Task:patient",
        ]);
        let shape = self.rng.pick(&["", "&_count=2", "&_total=accurate", "&_sort=_id"]);
        Ask::get(format!("/{query}{shape}"), "rs", Expect::Any)
    }

    fn filter(&mut self) -> Ask {
        let family = self.family();
        let id = any_id(self.rng, "Patient");
        let query = match self.rng.below(6) {
            0 => format!("Patient?_filter=name eq {family}"),
            1 => format!("Patient?_filter=not (name eq {family})"),
            2 => format!("Observation?_filter=subject re Patient/{id} or status eq final"),
            3 => format!("Observation?_filter=subject.name eq {family}"),
            4 => format!("Observation?_filter=not (subject.gender eq female)"),
            _ => "Observation?_list=list1".to_owned(),
        };
        let shape = self.rng.pick(&["", "&_total=accurate", "&_summary=count"]);
        Ask::get(format!("/{query}{shape}").replace(' ', "%20"), "s", Expect::Any)
    }

    fn everything(&mut self) -> Ask {
        let path = match self.rng.below(5) {
            0 => "/Patient/$everything".to_owned(),
            1 => format!("/Encounter/{}/$everything", any_id(self.rng, "Encounter")),
            _ => format!("/Patient/{}/$everything", any_id(self.rng, "Patient")),
        };
        let shape = self.rng.pick(&["", "?_count=5", "?_type=Observation,Patient"]);
        Ask::get(format!("{path}{shape}"), "s", Expect::Any)
    }

    fn latest(&mut self) -> Ask {
        let id = any_id(self.rng, "Patient");
        let path = match self.rng.below(3) {
            0 => format!("/DocumentReference/$docref?patient={id}"),
            1 => format!("/Observation/$lastn?patient=Patient/{id}&category=laboratory"),
            _ => format!("/Observation/$lastn?subject:not=Patient/{id}&code=x,y&max=2&_count=1"),
        };
        Ask::get(path, "s", Expect::Any)
    }

    fn meta(&mut self) -> Ask {
        let name = self.name();
        match self.rng.below(4) {
            0 => Ask::get("/$meta".to_owned(), "s", Expect::Any),
            1 => Ask::get(format!("/{}/$meta", name.0), "s", Expect::Any),
            _ => Ask::get(format!("/{}/{}/$meta", name.0, name.1), "r", Expect::Any),
        }
    }

    fn contained(&mut self) -> Ask {
        let query = self.rng.pick(&[
            "Practitioner?_contained=true",
            "Practitioner?_contained=both&_total=accurate",
            "Practitioner?_contained=true&_containedType=contained&_summary=count",
            "Observation?performer:Practitioner.name=Abel&_total=accurate",
        ]);
        Ask::get(format!("/{query}"), "s", Expect::Any)
    }

    fn sorted(&mut self) -> Ask {
        let query = self.rng.pick(&[
            "Observation?_sort=-date,_id&_count=2",
            "Observation?_sort=category&_count=3&_total=accurate",
            "Patient?_sort=family&_count=1",
            "Patient?gender:missing=false&_sort=-gender",
            "Observation?_sort=subject&_count=2",
            "Observation?_explain=true",
            "Patient?_explain=true&_has:Observation:patient:status=final",
            "Observation?subject:missing=true&_explain=true",
        ]);
        Ask::get(format!("/{query}"), "s", Expect::Any)
    }

    fn batch_of_reads(&mut self) -> Ask {
        let mut entries = Vec::new();
        for _ in 0..3 {
            let ask = match self.rng.below(3) {
                0 => self.plain_read(),
                1 => self.include(),
                _ => self.plain_search(),
            };
            if ask.method == "GET" {
                let url = ask.path.trim_start_matches('/');
                entries.push(json!({"request": {"method": "GET", "url": url}}));
            }
        }
        let kind = self.rng.pick(&["batch", "batch", "transaction"]);
        let body = json!({"resourceType": "Bundle", "type": kind, "entry": entries});
        Ask { letters: "rs", ..Ask::write("POST", String::new(), Some(body), Expect::Any) }
    }

    /// A request that may change something, under ids that the client gives.
    pub fn write(&mut self) -> Ask {
        match self.rng.below(12) {
            0..=2 => self.update(),
            3 | 4 => self.delete(),
            5 | 6 => self.patch(),
            7 => self.label(),
            8 => self.conditional(),
            _ => self.bundle_of_writes(),
        }
    }

    fn update(&mut self) -> Ask {
        let name = self.name();
        let body = resource(self.rng, &name.0, &name.1);
        let mut ask = Ask::write("PUT", format!("/{}/{}", name.0, name.1), Some(body.clone()), Expect::Any);
        let version = 1 + self.rng.below(3);
        let versions = self.world.0.get(&name).map_or(&[][..], Vec::as_slice);
        let reached = self.rights.reaches(self.world, 'u', &name);
        let current = versions.last().filter(|_| reached).and_then(Option::as_ref);
        let fails = match self.rng.below(6) {
            0 => {
                ask.headers.push(("If-Match", format!("W/\"{version}\"")));
                current.is_none() || versions.len() != version
            }
            1 => {
                ask.headers.push(("If-None-Match", "*".to_owned()));
                current.is_some()
            }
            _ => false,
        };
        let merged = current.map_or_else(|| body.clone(), |current| with_labels(body.clone(), current));
        ask.expect = if !self.rights.covers('u', &name.0) {
            Expect::Status(403)
        } else if fails {
            Expect::Status(412)
        } else if !reached {
            match (self.rights.all('u', &name.0), self.rights.all('c', &name.0)) {
                (true, true) => Expect::Status(201),
                (true, false) => Expect::Status(403),
                (false, _) => Expect::Status(404),
            }
        } else if self.rights.may(self.world, 'u', &merged) {
            Expect::Written
        } else {
            Expect::Status(403)
        };
        ask
    }

    fn delete(&mut self) -> Ask {
        let name = self.name();
        let mut ask = Ask::write("DELETE", format!("/{}/{}", name.0, name.1), None, Expect::Status(204));
        let versions = self.world.0.get(&name).map_or(&[][..], Vec::as_slice);
        let reached = self.rights.reaches(self.world, 'd', &name);
        if self.rng.chance(25) {
            let version = 1 + self.rng.below(3);
            ask.headers.push(("If-Match", format!("W/\"{version}\"")));
            if !reached || versions.last().is_none_or(Option::is_none) || versions.len() != version {
                ask.expect = Expect::Status(412);
            }
        } else if self.rng.chance(20) {
            ask.headers.push(("Prefer", "return=OperationOutcome".to_owned()));
            ask.expect = Expect::Status(200);
        }
        if !self.rights.covers('d', &name.0) {
            ask.expect = Expect::Status(403);
        }
        ask
    }

    /// What a change of a stored resource is answered with, that makes `changed` of it.
    fn changed(&self, name: &Name, change: impl Fn(&Value) -> Value) -> Expect {
        let last = self.world.0.get(name).and_then(|versions| versions.last());
        Expect::Status(match last {
            _ if !self.rights.covers('u', &name.0) => 403,
            Some(last) if self.rights.reaches(self.world, 'u', name) => match last {
                None => 410,
                Some(content)
                    if self.rights.all('u', &name.0) || self.rights.may(self.world, 'u', &change(content)) =>
                {
                    200
                }
                Some(_) => 403,
            },
            _ => 404,
        })
    }

    fn patch(&mut self) -> Ask {
        let name = self.name();
        let patient = format!("Patient/{}", any_id(self.rng, "Patient"));
        let moves = ["Observation", "Condition", "Encounter"].contains(&name.0.as_str()) && self.rng.chance(60);
        let (operation, expect) = if moves {
            let expect = self.changed(&name, |content| {
                let mut content = content.clone();
                content["subject"] = json!({"reference": patient});
                content
            });
            (json!({"op": "add", "path": "/subject", "value": {"reference": patient}}), expect)
        } else {
            (json!({"op": "add", "path": "/language", "value": "en"}), self.changed(&name, Value::clone))
        };
        let mut ask = Ask::write("PATCH", format!("/{}/{}", name.0, name.1), None, expect);
        ask.body = Some(("application/json-patch+json", json!([operation])));
        ask
    }

    fn label(&mut self) -> Ask {
        let name = self.name();
        let code = self.rng.pick(&["a", "b"]);
        let labels = json!({"meta": {"tag": [{"system": "urn:t", "code": code}]}});
        let expect = self.changed(&name, |content| with_labels(content.clone(), &labels));
        let body = json!({"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": labels["meta"]}]});
        Ask::write("POST", format!("/{}/{}/$meta-add", name.0, name.1), Some(body), expect)
    }

    fn conditional(&mut self) -> Ask {
        let type_name = self.rng.pick(&["Observation", "Patient", "Encounter"]);
        let family = self.family();
        let criteria = match (type_name, self.rng.below(2)) {
            ("Observation", 0) => format!("subject:Patient.name={family}"),
            _ => criterion(self.rng, type_name),
        };
        let path = format!("/{type_name}?{criteria}");
        let all = |letters: &str| letters.chars().all(|letter| self.rights.all(letter, type_name));
        let refused = |needs: &str| if all(needs) { Expect::Any } else { Expect::Status(403) };
        match self.rng.below(3) {
            0 => Ask::write("DELETE", path, None, refused("ds")),
            1 => {
                let body =
                    Some(("application/json-patch+json", json!([{"op": "add", "path": "/language", "value": "en"}])));
                Ask { body, ..Ask::write("PATCH", path, None, refused("us")) }
            }
            _ => {
                let id = any_id(self.rng, type_name);
                let expect = refused("cus");
                Ask::write("PUT", path, Some(resource(self.rng, type_name, &id)), expect)
            }
        }
    }

    fn bundle_of_writes(&mut self) -> Ask {
        let mut entries: Vec<Value> = Vec::new();
        let kind = self.rng.pick(&["batch", "transaction"]);
        for _ in 0..=self.rng.below(3) {
            let ask = match self.rng.below(5) {
                0 => self.update(),
                1 | 2 => self.delete(),
                3 => self.plain_read(),
                _ => self.plain_search(),
            };
            let url = ask.path.trim_start_matches('/');
            let is_taken = entries.iter().any(|entry| text(&entry["request"], "url") == url);
            if is_taken || ask.path.ends_with("_search") {
                continue;
            }
            let mut entry = json!({"request": {"method": ask.method, "url": url}});
            for (header, value) in ask.headers {
                match header {
                    "If-Match" => entry["request"]["ifMatch"] = value.into(),
                    "If-None-Match" => entry["request"]["ifNoneMatch"] = value.into(),
                    _ => {}
                }
            }
            if let Some((_, body)) = ask.body {
                entry["resource"] = body;
            }
            entries.push(entry);
        }
        let body = json!({"resourceType": "Bundle", "type": kind, "entry": entries});
        Ask::write("POST", String::new(), Some(body), Expect::Any)
    }

    /// A request that may make something under an id of the server's.
    pub fn create(&mut self) -> Ask {
        let type_name = any_type(self.rng);
        let mut body = resource(self.rng, type_name, "new");
        if self.rng.chance(25) && element_of_patient(type_name) == Some("subject") {
            let family = self.family();
            let wanted = self.rng.pick(&["gender=female", "_tag=a", "name="]);
            let family = if wanted == "name=" { family } else { "" };
            body["subject"] = json!({"reference": format!("Patient?{wanted}{family}")});
            let entry = json!({"resource": body, "request": {"method": "POST", "url": type_name}});
            let body = json!({"resourceType": "Bundle", "type": "transaction", "entry": [entry]});
            return Ask::write("POST", String::new(), Some(body), Expect::Any);
        }
        let may = self.rights.all('c', type_name) || self.rights.may(self.world, 'c', &body);
        let is_covered = self.rights.covers('c', type_name);
        let expect = Expect::Status(if is_covered && may { 201 } else { 403 });
        let mut ask = Ask::write("POST", format!("/{type_name}"), Some(body), expect);
        if self.rng.chance(25) {
            let criteria = criterion(self.rng, type_name);
            let all = ['c', 's'].iter().all(|letter| self.rights.all(*letter, type_name));
            ask.headers.push(("If-None-Exist", criteria));
            ask.expect = if all { Expect::Any } else { Expect::Status(403) };
        }
        ask
    }
}

/// A resource with the labels that the one it replaces has: <https://hl7.org/fhir/R4/resource.html#tag-updates>.
fn with_labels(mut content: Value, old: &Value) -> Value {
    for list in ["tag", "security"] {
        let labels = old["meta"][list].as_array().cloned().unwrap_or_default();
        for label in labels {
            let own = content["meta"][list].as_array().cloned().unwrap_or_default();
            if !own.contains(&label) {
                content["meta"][list] = own.into_iter().chain([label]).collect();
            }
        }
    }
    content
}

/// The ids that the population has at most.
pub fn all_names() -> impl Iterator<Item = Name> {
    let ids = |(name, short, count): (&'static str, &'static str, usize)| {
        (1..=count).map(move |number| (name.to_owned(), format!("{short}{number}")))
    };
    TYPES.into_iter().flat_map(ids)
}
