//! A sample population, made up by this project: the same people for the same seed.
//!
//! [`Population`] gives transaction Bundles of `PUT`s with ids of the form `demo-…`, so that loading them twice changes
//! nothing but versions, and documentation can name `Patient/demo-1`. Within a Bundle, references are the `urn:uuid` of
//! the entries; what all share (organisations, practitioners) comes in the first Bundle and is referred to by id.

mod chart;
mod codes;
mod datatypes;
mod names;
mod organizations;
mod person;
mod random;
mod record;
mod visit;

use crate::fhir::tree::Value;
use jiff::civil::Date;

/// The seed of the population that `pharos demo` shows.
pub const SEED: u64 = 1270;

/// How many patients `pharos demo` shows.
pub const PATIENTS: u64 = 300;

/// The Bundles of a population: first the organisations and practitioners, then one for each patient.
#[derive(Debug, Clone)]
pub struct Population {
    seed: u64,
    patients: u64,
    today: Date,
    next: u64,
}

impl Population {
    /// A population of `patients` people whose records end on `today`. Who they are depends on the seed alone; when they
    /// were seen counts back from `today`. Birth dates lie between 1932 and 2023, `today` should be later.
    #[must_use]
    pub const fn new(seed: u64, patients: u64, today: Date) -> Self {
        Self { seed, patients, today, next: 0 }
    }

    /// The population that `pharos demo` shows.
    #[must_use]
    pub const fn demo(today: Date) -> Self {
        Self::new(SEED, PATIENTS, today)
    }
}

impl Iterator for Population {
    type Item = Value<'static>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        if number > self.patients {
            return None;
        }
        self.next += 1;
        Some(if number == 0 { organizations::bundle(self.seed) } else { record::bundle(self.seed, number, self.today) })
    }
}

#[cfg(test)]
mod tests;
