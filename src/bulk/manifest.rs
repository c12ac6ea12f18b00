//! What an export has come to: <https://hl7.org/fhir/uv/bulkdata/export.html#response---output-manifest>.
//!
//! With `allowPartialManifests` a manifest has several pages, each with a link to the next one. Which files are on a page depends on
//! their order only, and a page is there when it is full: so nothing but the link is added to one that was seen before.

use super::Asked;
use super::export::Report;
use super::files::{File, Kind};
use crate::clock::Micros;
use serde_json::{Value, json};

/// The pages of a manifest.
pub struct Pages<'p> {
    /// What was asked for.
    pub asked: &'p Asked,
    /// The files so far.
    pub report: &'p Report,
    /// The URL of the job, below which its files are.
    pub folder: &'p str,
    /// Whether there will be no more files.
    pub is_done: bool,
    /// The files on a page, where there may be several pages.
    pub length: usize,
}

impl Pages<'_> {
    /// The number of the page that has this name in the job's folder. The first one is the status of the job.
    #[must_use]
    pub fn number(name: &str) -> Option<usize> {
        let number = name.strip_prefix("manifest-")?.strip_suffix(".json")?;
        number
            .parse()
            .ok()
            .filter(|number: &usize| *number > 1 && number.to_string().len() == name.len() - "manifest-.json".len())
    }

    /// How many there are so far.
    #[must_use]
    pub fn count(&self) -> usize {
        let files = self.files().count();
        match (self.asked.is_partial, self.is_done) {
            (false, is_done) => usize::from(is_done),
            (true, false) => files / self.length.max(1),
            (true, true) => files.div_ceil(self.length.max(1)).max(1),
        }
    }

    fn files(&self) -> impl Iterator<Item = &File> {
        self.report.files.iter().filter(|file| file.kind != Kind::Error)
    }

    /// A page, counted from 1; nothing where it is not there yet.
    #[must_use]
    pub fn page(&self, number: usize) -> Option<Value> {
        let count = self.count();
        if number == 0 || number > count {
            return None;
        }
        let (from, length) = if self.asked.is_partial {
            ((number - 1).saturating_mul(self.length), self.length)
        } else {
            (0, usize::MAX)
        };
        let of = |kind| {
            let files = self.files().skip(from).take(length).filter(|file| file.kind == kind);
            files.map(|file| self.entry(file)).collect::<Vec<_>>()
        };
        let errors = self.report.files.iter().filter(|file| file.kind == Kind::Error);
        let mut page = json!({
            "transactionTime": Micros(self.asked.moment).to_instant(),
            "request": self.asked.request,
            "requiresAccessToken": true,
            "output": of(Kind::Output),
            "deleted": of(Kind::Deleted),
            "error": errors.map(|file| self.entry(file)).collect::<Vec<_>>(),
        });
        if let (Some(page), Some(by)) = (page.as_object_mut(), &self.asked.organized_by) {
            page.insert("outputOrganizedBy".into(), by.as_str().into());
        }
        if let Some(page) = page.as_object_mut().filter(|_| number < count) {
            let url = format!("{}/manifest-{}.json", self.folder, number + 1);
            page.insert("link".into(), json!([{ "relation": "next", "url": url }]));
        }
        Some(page)
    }

    fn entry(&self, file: &File) -> Value {
        let url = |name: &str| format!("{}/{name}", self.folder);
        let mut entry = json!({ "url": url(&file.name), "count": file.count });
        let Some(members) = entry.as_object_mut() else { return entry };
        // A file of blocks has resources of all types.
        if file.kind != Kind::Output || self.asked.organized_by.is_none() {
            members.insert("type".into(), (&*file.type_name).into());
        }
        if let Some(next) = &file.continues_in {
            members.insert("continuesInFile".into(), url(next).into());
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pages_behind_the_first_one_have_names() {
        assert_eq!(Pages::number("manifest-2.json"), Some(2));
        for name in [
            "manifest-1.json",
            "manifest-0.json",
            "manifest-02.json",
            "manifest-+2.json",
            "manifest-.json",
            "2.Patient.ndjson",
        ] {
            assert_eq!(Pages::number(name), None, "{name}");
        }
    }
}
