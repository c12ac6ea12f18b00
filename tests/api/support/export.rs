//! Exports as a client asks for them: kick-off, status, files.

use super::{Answer, Client};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// An export that is done.
pub struct Exported {
    /// The answer with the manifest.
    pub answer: Answer,
    pub manifest: Value,
    /// The path of the job.
    pub path: String,
    client: Client,
}

impl Client {
    /// Begins an export by GET and waits until it is done.
    #[track_caller]
    pub fn export(&self, path: &str) -> Exported {
        let begun = self.get(path).header("Prefer", "respond-async").expect(202);
        self.exported(&begun)
    }

    /// Waits until an export is done that was answered so.
    #[track_caller]
    pub fn exported(&self, begun: &Answer) -> Exported {
        self.export_at(&job_path(self, begun))
    }

    /// Waits until the export of a job is done.
    #[track_caller]
    pub fn export_at(&self, path: &str) -> Exported {
        for _ in 0..600 {
            let answer = self.get(path).send();
            if ![202, 429].contains(&answer.status()) {
                let answer = answer.status_is(200);
                return Exported { manifest: answer.json(), answer, path: path.to_owned(), client: self.clone() };
            }
            std::thread::sleep(Duration::from_millis(if answer.status() == 429 { 1000 } else { 50 }));
        }
        panic!("the export does not end");
    }
}

/// The path of the job that an answer tells of.
#[track_caller]
pub fn job_path(client: &Client, begun: &Answer) -> String {
    let location = begun.header("content-location").unwrap();
    location.strip_prefix(client.base()).unwrap_or_else(|| panic!("{location} is not absolute")).to_owned()
}

impl Exported {
    /// The URLs of the files of a kind (`output`), those of one type where it is named.
    pub fn urls(&self, kind: &str, type_name: Option<&str>) -> Vec<String> {
        let files = self.manifest[kind].as_array().unwrap().iter();
        let wanted = files.filter(|file| type_name.is_none_or(|name| file["type"] == name));
        wanted.map(|file| file["url"].as_str().unwrap().to_owned()).collect()
    }

    /// The lines of the files of a kind. The counts of the manifest and the types are those of the files.
    #[track_caller]
    pub fn lines(&self, kind: &str) -> Vec<Value> {
        let mut all = Vec::new();
        for file in self.manifest[kind].as_array().unwrap() {
            let lines = self.file(file);
            let is_organized = kind == "output" && self.manifest.get("outputOrganizedBy").is_some();
            assert_eq!(file.get("type").is_none(), is_organized, "{file}");
            assert!(is_organized || lines.iter().all(|line| line["resourceType"] == file["type"]), "{file}");
            all.extend(lines);
        }
        all
    }

    /// The lines of a file of the manifest, as many as it says.
    #[track_caller]
    pub fn file(&self, file: &Value) -> Vec<Value> {
        let answer = self.client.get(file["url"].as_str().unwrap()).expect(200);
        let answer = answer.header_is("content-type", "application/fhir+ndjson");
        let text = answer.text();
        assert!(text.ends_with('\n'), "{text}");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(file["count"], lines.len(), "{file}");
        lines
    }

    /// `Patient/1` of all that is in the files of output, in order.
    #[track_caller]
    pub fn names(&self) -> Vec<String> {
        let lines = self.lines("output");
        let name =
            |line: &Value| format!("{}/{}", line["resourceType"].as_str().unwrap(), line["id"].as_str().unwrap());
        let names: Vec<_> = lines.iter().map(name).collect();
        let distinct: BTreeSet<_> = names.iter().cloned().collect();
        assert_eq!(distinct.len(), names.len(), "each comes once: {names:?}");
        distinct.into_iter().collect()
    }

    /// What is told as deleted.
    #[track_caller]
    pub fn deleted(&self) -> Vec<String> {
        let bundles = self.lines("deleted");
        let entries = bundles.iter().flat_map(|bundle| bundle["entry"].as_array().unwrap());
        let urls = entries.map(|entry| {
            assert_eq!(entry["request"]["method"], "DELETE");
            entry["request"]["url"].as_str().unwrap().to_owned()
        });
        urls.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What the file of errors says.
    #[track_caller]
    pub fn notes(&self) -> Vec<String> {
        let text = |line: Value| line["issue"][0]["diagnostics"].as_str().unwrap().to_owned();
        self.lines("error").into_iter().map(text).collect()
    }
}
