//! Resources in blocks, each below a header that names whose block it is: `organizeOutputBy`.
//!
//! <https://hl7.org/fhir/uv/bulkdata/export.html#bulk-data-output-file-organization>
//!
//! A file that is long enough ends where a block does; only a block that would make it twice as long goes on in another, which
//! begins with the header again.

use super::{BYTES, RESOURCES, Step};
use crate::bulk::files::{File, Kind, Writing};
use crate::bulk::lines::version_at;
use crate::bulk::{List, pins};
use crate::error::Result;
use crate::fhir::write;
use crate::store::Rid;
use crate::tree;
use serde::{Deserialize, Serialize};

/// What stands in the names of the files instead of a type.
const NAME: &str = "output";

/// A block that is being written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Block {
    /// Whose it is: a number.
    owner: u64,
    /// Whether it has a header. What was erased has none.
    is_told: bool,
}

impl Step<'_> {
    /// Goes on with a list of blocks, until its end or that of the step.
    pub(super) fn list_of_blocks(&mut self, list: &List) -> Result<()> {
        let known = self.position.file.take();
        let place = self.place;
        let mut writing = Writing::open(place, known.unwrap_or_else(|| self.new_file(0)))?;
        let before = writing.bytes();
        while self.position.chunk < list.chunks {
            let chunk = self.position.chunk;
            let (nth, job) = (self.position.list, &self.turn.job.id);
            let rids = pins::read(&*self.turn.store.keeper(), self.turn.tenant(), job, nth, chunk)?;
            while let Some(rid) = rids.get(self.position.at) {
                let is_between = *rid == pins::BLOCK;
                let is_full = writing.bytes() >= if is_between { self.most } else { self.most.saturating_mul(2) };
                let written = self.bytes + writing.bytes() - before;
                if is_full || self.done >= RESOURCES || written >= BYTES {
                    self.bytes = written;
                    let mut file = writing.finish()?;
                    if is_full && !is_between {
                        file.continues_in = Some(self.new_file(1).name);
                    }
                    self.leave(file, is_full);
                    return Ok(());
                }
                self.number(&mut writing, *rid)?;
                self.position.at += 1;
            }
            (self.position.chunk, self.position.at) = (chunk + 1, 0);
        }
        self.bytes += writing.bytes() - before;
        let file = writing.finish()?;
        self.end_list();
        self.leave(file, true);
        Ok(())
    }

    /// The file that comes next, or so many behind it.
    fn new_file(&self, behind: usize) -> File {
        File::new(self.report.files.len() + 1 + behind, Kind::Output, NAME)
    }

    /// Writes what a number of the list stands for: the beginning of a block, whose it is, or what is in it.
    fn number(&mut self, writing: &mut Writing<'_>, rid: Rid) -> Result<()> {
        if rid == pins::BLOCK {
            self.position.block = None;
            return Ok(());
        }
        let Some(Block { owner, is_told }) = self.position.block else {
            let is_told = self.header(writing, rid)?;
            self.position.block = Some(Block { owner: rid.0, is_told });
            return Ok(());
        };
        self.done += 1;
        let is_headed = is_told && (writing.count() > 0 || self.header(writing, Rid(owner))?);
        match version_at(self.records.view(), rid, self.asked.moment)?.filter(|version| version.body.is_some()) {
            Some(version) if is_headed => writing.add(&self.lines.of(&version)?, &version.patients),
            _ => {
                self.report.erased += 1;
                Ok(())
            }
        }
    }

    /// Writes the header of a block, unless the instance was erased.
    fn header(&self, writing: &mut Writing<'_>, block: Rid) -> Result<bool> {
        let Some(version) = version_at(self.records.view(), block, self.asked.moment)? else { return Ok(false) };
        let reference = format!("{}/{}", version.type_name, version.id);
        let header = tree!({
            "resourceType": "Parameters",
            "parameter": [{ "name": "header", "valueReference": { "reference": (reference.as_str()) } }]
        });
        writing.add(&write::to_vec(&header), &version.patients)?;
        Ok(true)
    }
}
