//! Random requests that read, with what the model expects of their answers.

use super::model::{Name, Rights, World, matches};
use super::population::{CONSENTS, Rng, TYPES, any_id, any_type, criterion};
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

    pub(super) fn write(method: &'static str, path: String, body: Option<Value>, expect: Expect) -> Self {
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
    pub(super) fn name(&mut self) -> Name {
        let type_name = any_type(self.rng);
        (type_name.to_owned(), any_id(self.rng, type_name))
    }

    pub(super) fn family(&mut self) -> &'static str {
        self.rng.pick(&["Abel", "Baker", "Cole", "Dunn"])
    }

    /// A request that changes nothing.
    pub fn read(&mut self) -> Ask {
        match self.rng.below(25) {
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
            23 => self.consents(),
            _ => self.sorted(),
        }
    }

    pub(super) fn plain_read(&mut self) -> Ask {
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

    pub(super) fn plain_search(&mut self) -> Ask {
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
            4 => "Observation?_filter=not (subject.gender eq female)".to_owned(),
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

    fn consents(&mut self) -> Ask {
        let name = ("Consent".to_owned(), format!("dir{}", 1 + self.rng.below(4)));
        let is_covered = self.rights.covers('s', "Consent");
        match self.rng.below(3) {
            0 => {
                let status = match self.world.0.get(&name).and_then(|versions| versions.last()) {
                    _ if !self.rights.covers('r', "Consent") => 403,
                    Some(last) if self.rights.reaches(self.world, 'r', &name) => {
                        if last.is_some() {
                            200
                        } else {
                            410
                        }
                    }
                    _ => 404,
                };
                Ask::get(format!("/Consent/{}", name.1), "r", Expect::Status(status))
            }
            1 if is_covered => Ask::get("/Consent?_count=1".into(), "s", Expect::Matches(self.found("Consent", &[]))),
            2 if is_covered => {
                Ask::get("/Consent/_history".into(), "s", self.seen_versions('s', |name| name.0 == "Consent"))
            }
            _ => Ask::get("/Consent".into(), "s", Expect::Any),
        }
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
}

/// The ids that the population has at most.
pub fn all_names() -> impl Iterator<Item = Name> {
    let ids = |(name, short, count): (&'static str, &'static str, usize)| {
        (1..=count).map(move |number| (name.to_owned(), format!("{short}{number}")))
    };
    TYPES.into_iter().chain([CONSENTS]).flat_map(ids)
}
