//! What one part of a job erases: gathered resource by resource, with what goes along and what must hold.
//!
//! With a resource that is erased whole go the Binaries that nothing else has as an attachment, and those that it decides who may see
//! (`securityContext`). A hold on a resource is one on the Binaries that it has.

use super::{Count, Report, hold};
use crate::audit::record::{Changed, Event, Record};
use crate::auth::keeper::SharedKeeper;
use crate::error::Result;
use crate::jobs::Turn;
use crate::key::ties::{ATTACHMENT, SECURITY_CONTEXT, WITH_ATTACHMENTS};
use crate::key::{prefix_of, reference};
use crate::search;
use crate::store::{Commit, Erasure, Extent, Method, Outline, Records, Rid, View};
use rustc_hash::{FxHashMap, FxHashSet};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Resources that one part erases, about.
const ERASED: usize = 200;
/// Bytes that one part archives, about.
const ARCHIVED: usize = 8 << 20;

/// See the module.
pub(super) struct Gathering<'g> {
    turn: &'g Turn<'g>,
    view: &'g dyn View,
    keeper: SharedKeeper,
    holds: FxHashMap<Box<str>, bool>,
    taken: FxHashSet<Rid>,
    /// What no hold may be on when this is committed.
    free: BTreeSet<Box<str>>,
    /// What is erased, with the ids of the patients.
    changed: Vec<(Changed, Vec<Box<str>>)>,
    erasures: Vec<Erasure>,
    versions: u64,
    /// What is archived: NDJSON.
    pub lines: Vec<u8>,
    /// What the job has come to, this part included.
    pub report: Report,
}

/// `Patient/1`.
pub(super) fn name_of(outline: &Outline) -> Box<str> {
    format!("{}/{}", outline.type_name, outline.id).into()
}

/// What is known of one resource.
pub(super) fn outline(view: &dyn View, rid: Rid) -> Result<Option<Outline>> {
    Ok(view.resources(rid).next().transpose()?.filter(|outline| outline.rid == rid))
}

/// The ids of all patients that versions of a resource are about.
pub(super) fn patients(view: &dyn View, outline: &Outline) -> Result<BTreeSet<Box<str>>> {
    let mut all: BTreeSet<_> = outline.patients.iter().cloned().collect();
    for number in outline.oldest..outline.version {
        all.extend(view.version(outline.rid, number)?.into_iter().flat_map(|version| version.patients));
    }
    Ok(all)
}

impl<'g> Gathering<'g> {
    pub(super) fn new(turn: &'g Turn<'g>, records: &'g Records, report: Report) -> Self {
        Self {
            turn,
            view: records.view(),
            keeper: turn.store.keeper(),
            holds: FxHashMap::default(),
            taken: FxHashSet::default(),
            free: BTreeSet::new(),
            changed: Vec::new(),
            erasures: Vec::new(),
            versions: 0,
            lines: Vec::new(),
            report,
        }
    }

    /// Whether the part should end here.
    pub(super) fn is_full(&self) -> bool {
        self.taken.len() >= ERASED || self.lines.len() >= ARCHIVED
    }

    /// How many resources it erases something of.
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// Whether there is a hold on this.
    pub(super) fn is_held(&mut self, name: &str) -> Result<bool> {
        if let Some(known) = self.holds.get(name) {
            return Ok(*known);
        }
        let is_held = hold::get(&*self.keeper, self.turn.tenant(), name)?.is_some();
        self.holds.insert(name.into(), is_held);
        Ok(is_held)
    }

    /// Takes a resource, or some of its versions. `false` for one that is under a hold, of which nothing is taken.
    pub(super) fn take(&mut self, outline: &Outline, extent: Extent, is_archived: bool) -> Result<bool> {
        if self.taken.contains(&outline.rid) {
            return Ok(true);
        }
        let patients = patients(self.view, outline)?;
        let mut names: BTreeSet<Box<str>> = patients.iter().map(|id| format!("Patient/{id}").into()).collect();
        names.insert(name_of(outline));
        if &*outline.type_name == "Binary" {
            self.add_havers(outline, &mut names)?;
        }
        for name in &names {
            if self.is_held(name)? {
                *self.report.held.entry(outline.type_name.clone()).or_default() += 1;
                return Ok(false);
            }
        }
        let numbers = match extent {
            Extent::Whole { version } => outline.oldest..version + 1,
            Extent::Before(version) => outline.oldest..version,
        };
        let is_whole = matches!(extent, Extent::Whole { .. });
        let count = Count { resources: u64::from(is_whole), versions: numbers.end.saturating_sub(numbers.start) };
        add(&mut self.report.erased, &outline.type_name, count);
        if is_archived {
            add(&mut self.report.archived, &outline.type_name, count);
            for number in numbers {
                let version = self.view.version(outline.rid, number)?;
                if let Some((body, version)) =
                    version.as_ref().and_then(|version| Some((version.body.as_ref()?, version)))
                {
                    self.lines.extend(body.unpack(version.version, version.time)?);
                    self.lines.push(b'\n');
                }
            }
        }
        self.taken.insert(outline.rid);
        self.free.extend(names);
        self.versions += count.versions;
        let changed = Changed::of(Method::Delete, &outline.type_name, &outline.id);
        self.changed.push((changed, patients.into_iter().collect()));
        let (type_name, id) = (outline.type_name.clone(), outline.id.clone());
        self.erasures.push(Erasure { type_name, id, extent });
        if is_whole { self.take_binaries(outline, is_archived) } else { Ok(true) }
    }

    /// Takes the Binaries that go with a resource.
    fn take_binaries(&mut self, of: &Outline, is_archived: bool) -> Result<bool> {
        let mut binaries = BTreeSet::new();
        if WITH_ATTACHMENTS.iter().any(|(name, _)| **name == *of.type_name) {
            for number in of.oldest..=of.version {
                let Some(keys) = self.view.version_keys(of.rid, number)? else { continue };
                for (_, id) in search::references(&keys, ATTACHMENT).filter(|(name, _)| *name == "Binary") {
                    binaries.extend(self.view.find("Binary", id)?);
                }
            }
        }
        let mut alone = BTreeSet::new();
        for binary in binaries {
            let Some(binary) = outline(self.view, binary)? else { continue };
            if self.havers(&binary.id)?.iter().all(|rid| self.taken.contains(rid)) {
                alone.insert(binary.rid);
            }
        }
        let secured = reference::matching_resource(&of.type_name, &of.id).under(&prefix_of(SECURITY_CONTEXT));
        for posting in self.view.scan("Binary", &secured) {
            alone.insert(posting?.rid);
        }
        for rid in alone {
            if let Some(binary) = outline(self.view, rid)? {
                self.take(&binary, Extent::Whole { version: binary.version }, is_archived)?;
            }
        }
        Ok(true)
    }

    /// The resources that have a Binary as an attachment.
    fn havers(&self, id: &str) -> Result<Vec<Rid>> {
        let range = reference::matching_resource("Binary", id).under(&prefix_of(ATTACHMENT));
        let mut found = Vec::new();
        for (type_name, _) in WITH_ATTACHMENTS {
            for posting in self.view.scan(type_name, &range) {
                found.push(posting?.rid);
            }
        }
        Ok(found)
    }

    /// Adds the names of what has a Binary, or decides who may see it, and of their patients.
    fn add_havers(&self, binary: &Outline, names: &mut BTreeSet<Box<str>>) -> Result<()> {
        let mut havers = self.havers(&binary.id)?;
        let keys = self.view.keys(binary.rid)?.unwrap_or_default();
        for (type_name, id) in search::references(&keys, SECURITY_CONTEXT) {
            names.insert(format!("{type_name}/{id}").into());
            havers.extend(self.view.find(type_name, id)?);
        }
        for rid in havers {
            let Some(haver) = outline(self.view, rid)? else { continue };
            names.insert(name_of(&haver));
            names.extend(haver.patients.iter().map(|id| format!("Patient/{id}").into()));
        }
        Ok(())
    }

    /// What is committed. `target` is what the job is about, `archive` the file of what is archived.
    pub(super) fn into_commit(self, target: Option<&str>, archive: Option<&str>) -> Result<Commit> {
        let mut commit = Commit::of(self.turn.tenant());
        if self.erasures.is_empty() || self.report.is_dry_run {
            return Ok(commit);
        }
        let job = self.turn.job;
        let event = if archive.is_some() { Event::Archival } else { Event::Erasure };
        let mut entry = Record::of(event, Cow::Borrowed(&job.owner));
        entry.content.target = target.map(Cow::Borrowed);
        entry.content.set_changed(self.changed);
        let file = archive.map(|name| format!(", archived in {name}")).unwrap_or_default();
        entry.content.note = Some(format!("{} {}: versions: {}{file}", job.kind, job.id, self.versions).into());
        commit.entry = Some(entry.entry(self.turn.now)?);
        commit.keeps = self.free.iter().map(|name| hold::absent(name)).collect();
        commit.erasures = self.erasures;
        Ok(commit)
    }
}

fn add(counts: &mut std::collections::BTreeMap<Box<str>, Count>, type_name: &str, count: Count) {
    let sum = counts.entry(type_name.into()).or_default();
    sum.resources += count.resources;
    sum.versions += count.versions;
}
