//! Lists of what is to be exported, kept as records of the store until the export is over.
//!
//! A list holds the numbers of resources, ascending, or in [blocks](BLOCK). With the moment of the snapshot on which it was made, each number stands for
//! one version: the one that was current then.

use super::List;
use crate::auth::keeper::{Expect, Keep, Keeper};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::store::Rid;
use crate::tenant::TenantId;

/// The kind of record.
const KIND: &str = "pin";
/// Begins a block of resources that are organized by the one whose number follows. No resource has this number.
pub const BLOCK: Rid = Rid(u64::MAX);
/// Numbers in one record.
const TOGETHER: usize = 32_768;
/// The level of compression.
const LEVEL: i32 = 1;

/// A list that is being made.
#[derive(Debug, Default)]
pub struct Pins {
    full: Vec<Vec<u8>>,
    /// The differences from one number to the next.
    open: Vec<u8>,
    last: u64,
    count: u64,
}

impl Pins {
    /// Adds a number.
    ///
    /// # Errors
    /// None in practice.
    pub fn push(&mut self, rid: Rid) -> Result<()> {
        self.open.extend(rid.0.wrapping_sub(self.last).to_be_bytes());
        self.last = rid.0;
        self.count += 1;
        if self.open.len() >= TOGETHER * size_of::<u64>() { self.close() } else { Ok(()) }
    }

    /// How many numbers it has.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    fn close(&mut self) -> Result<()> {
        self.full.push(zstd::bulk::compress(&self.open, LEVEL).map_err(Error::internal)?);
        self.open.clear();
        self.last = 0;
        Ok(())
    }

    /// The records that keep it as the n-th list of a job, in so many pieces.
    ///
    /// # Errors
    /// None in practice.
    pub fn into_keeps(mut self, job: &str, nth: usize, expires: Micros) -> Result<Vec<Keep>> {
        if !self.open.is_empty() {
            self.close()?;
        }
        let keep = |(chunk, bytes): (u32, Vec<u8>)| {
            let id = id(job, nth, chunk);
            Keep { kind: KIND, id, expect: Expect::Any, bytes: Some(bytes), expires: Some(expires) }
        };
        Ok((0..).zip(self.full).map(keep).collect())
    }
}

fn id(job: &str, nth: usize, chunk: u32) -> Box<str> {
    format!("{job}~{nth:03}~{chunk:06}").into()
}

/// The numbers in one piece of a list.
///
/// # Errors
/// When it can't be read.
pub fn read(keeper: &dyn Keeper, tenant: TenantId, job: &str, nth: usize, chunk: u32) -> Result<Vec<Rid>> {
    let lost = || {
        let text = "What was to be exported is not known any more: ask for the export again.";
        Error::new(crate::error::Category::Conflict, "incomplete", text)
    };
    let kept = keeper.get(tenant, KIND, &id(job, nth, chunk))?.ok_or_else(lost)?;
    let plain = zstd::bulk::decompress(&kept.bytes, TOGETHER * size_of::<u64>()).map_err(Error::internal)?;
    let (numbers, _) = plain.as_chunks();
    let add = |last: &mut u64, number: &[u8; 8]| {
        *last = last.wrapping_add(u64::from_be_bytes(*number));
        Some(Rid(*last))
    };
    Ok(numbers.iter().scan(0, add).collect())
}

/// The changes that remove the lists of a job.
pub fn removals(job: &str, lists: &[List]) -> Vec<Keep> {
    let remove = |nth: usize, chunk: u32| {
        let id = id(job, nth, chunk);
        Keep { kind: KIND, id, expect: Expect::Any, bytes: None, expires: None }
    };
    let of_list =
        |(nth, list): (usize, &List)| (0..list.chunks).map(move |chunk| remove(nth, chunk)).collect::<Vec<_>>();
    lists.iter().enumerate().flat_map(of_list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::memory::Memory;
    use crate::bulk::Form;
    use crate::clock::FixedClock;

    #[test]
    fn a_list_comes_back_piece_by_piece() {
        let (keeper, tenant) = (Memory::new(FixedClock::at(Micros(0))), TenantId(1));
        let numbers: Vec<Rid> = (0..40_000).map(|n: u64| Rid(((n / 100) << 48) | (n * 3))).collect();
        let mut pins = Pins::default();
        for rid in &numbers {
            pins.push(*rid).unwrap();
        }
        assert_eq!(pins.count(), 40_000);
        let keeps = pins.into_keeps("job", 2, Micros(i64::MAX)).unwrap();
        assert_eq!(keeps.len(), 2);
        futures_util::FutureExt::now_or_never(keeper.keep(tenant, keeps)).unwrap().unwrap();
        let read = |chunk| read(&*keeper, tenant, "job", 2, chunk);
        assert_eq!([read(0).unwrap(), read(1).unwrap()].concat(), numbers);
        assert!(read(2).unwrap_err().to_string().contains("again"));
        let list = List { type_name: "Patient".into(), form: Form::Resources, chunks: 2, count: 40_000 };
        let empty = List { chunks: 0, count: 0, ..list.clone() };
        let removed = removals("job", &[empty.clone(), empty, list]);
        assert_eq!(removed.iter().map(|keep| &*keep.id).collect::<Vec<_>>(), ["job~002~000000", "job~002~000001"]);
    }
}
