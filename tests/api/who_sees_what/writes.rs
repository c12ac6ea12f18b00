//! Random requests that write, with what the model expects of their answers.

use super::model::{Name, element_of_patient, text};
use super::population::{any_id, any_type, criterion, resource};
use super::requests::{Ask, Expect, Maker};
use serde_json::{Value, json};

impl Maker<'_> {
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
        let mut name = self.name();
        // An update tells that an id is taken by what a patient's consent hides: docs/consent.md says so.
        while self.world.0.contains_key(&name)
            && self.rights.all_by_scopes('u', &name.0)
            && !self.rights.reaches(self.world, 'u', &name)
        {
            name = self.name();
        }
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
            let all = |letter| self.rights.all_by_scopes(letter, &name.0);
            match (all('u'), all('c') && self.rights.may(self.world, 'c', &body)) {
                (true, true) => Expect::Status(201),
                (true, false) => Expect::Status(403),
                (false, _) => Expect::Status(404),
            }
        } else if self.rights.may(self.world, 'u', &merged) {
            Expect::Written
        } else {
            Expect::Status(403)
        };
        if matches!(ask.expect, Expect::Written | Expect::Status(201)) && !self.may_attach(&merged) {
            ask.expect = Expect::Status(403);
        }
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
                    if self.rights.all(self.world, 'u', &name.0)
                        || self.rights.may(self.world, 'u', &change(content)) =>
                {
                    if self.may_attach(content) {
                        200
                    } else {
                        403
                    }
                }
                Some(_) => 403,
            },
            _ => 404,
        })
    }

    /// Only a Binary that could be read may be attached, unless everything may be.
    fn may_attach(&self, content: &Value) -> bool {
        let text = content.to_string();
        let ids = text.split("\"Binary/").skip(1).filter_map(|rest| rest.split('"').next());
        let reads = |id: &str| self.rights.reaches(self.world, 'r', &("Binary".to_owned(), id.to_owned()));
        self.rights.all(self.world, 'r', "Binary") || ids.into_iter().all(reads)
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
        let mut expect = self.changed(&name, |content| with_labels(content.clone(), &labels));
        // Labels that are there already change nothing: nothing is written, and nothing is attached anew.
        let current = self.world.last(&name).filter(|_| self.rights.reaches(self.world, 'u', &name));
        let is_there = current.is_some_and(|content| with_labels(content.clone(), &labels) == *content);
        if is_there && matches!(expect, Expect::Status(403)) && self.rights.covers('u', &name.0) {
            expect = Expect::Status(200);
        }
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
        let all = |letters: &str| letters.chars().all(|letter| self.rights.all(self.world, letter, type_name));
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
        let may = self.rights.all(self.world, 'c', type_name) || self.rights.may(self.world, 'c', &body);
        let is_covered = self.rights.covers('c', type_name);
        let expect = Expect::Status(if is_covered && may && self.may_attach(&body) { 201 } else { 403 });
        let mut ask = Ask::write("POST", format!("/{type_name}"), Some(body), expect);
        if self.rng.chance(25) {
            let criteria = criterion(self.rng, type_name);
            let all = ['c', 's'].iter().all(|letter| self.rights.all(self.world, *letter, type_name));
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
