//! In which form a store keeps what it keeps, and how one form becomes the next while the store is served.
//!
//! A form has a number, the *schema*. The store's format record tells which is *in force*: everything is written in it, and a program that can't
//! do that leaves the store alone. What was written in older forms is read as well, and rewritten in the background ([`Rewriting`]), row by row, by
//! a job of each tenant ([`crate::jobs::migration`]); when nothing is left, the record says so.
//!
//! A later schema comes into force only when every process that is at work on the store can write it ([`Program::beside`]). So processes of two
//! releases that follow each other share a database, in the form of the older one, until the last of the older ones has gone.

use super::rows::rewriting::Marks;
use super::rows::{Row, Table};
use super::seal::Sealer;
use super::{OldRows, StoreError, StoreResult};
use crate::tenant::TenantId;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The schema that this program writes, where all processes can.
pub const WRITES: u32 = 5;
/// The oldest schema in force with which this program reads and writes a store, and so the oldest that a process beside it may write.
pub const BESIDE: u32 = 4;
/// The oldest schema of an embedded store that this program takes over when it opens it.
pub const OPENS: u32 = 3;
/// From this one on each tenant has data keys of its own.
pub(in crate::store) const OWN_KEYS: u32 = 4;
/// From this one on marks of erased versions are sealed.
pub(in crate::store) const SEALED_MARKS: u32 = 5;
/// From this one on a row on MongoDB may stand in several documents. What stands in one is read as well, and so is not rewritten.
pub(in crate::store) const ROWS_IN_PARTS: u32 = 5;
/// From this one on the format record tells how the store stands, bound to its sealed value. In an older one nothing is under way.
pub(in crate::store) const TELLS_STAND: u32 = 5;
/// What it says where all rows are of the schema in force, and before the rest where not.
const WHOLE: &str = "whole";
const REWRITING: &str = "rewriting from ";

/// All changes of the form that this program knows, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        from: OPENS,
        name: "own-keys",
        what: "One key was that of all tenants. It becomes the first data key of each, and each gets a newer one.",
        how: How::AtOpening,
    },
    Migration {
        from: SEALED_MARKS - 1,
        name: "sealed-marks",
        what: "The mark that tells which versions of a resource were erased is sealed, so that nobody without the tenant's key can pass off as \
               erased what he took away.",
        how: How::Rows(&Marks),
    },
];

/// This program.
pub static PHAROS: Program = Program { writes: WRITES, beside: BESIDE, opens: OPENS, migrations: MIGRATIONS };

/// What `pharos --version` says of it.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nIt writes schema 5 of the store, works beside programs that write schema 4, and takes over an embedded store of schema 3."
);

/// Which schemas a program can handle.
#[derive(Debug)]
pub struct Program {
    /// The schema that it writes, where all processes can.
    pub writes: u32,
    /// The oldest one that it can write instead.
    pub beside: u32,
    /// The oldest one of an embedded store that it takes over when it opens it.
    pub opens: u32,
    /// What it knows of how one becomes the next.
    pub migrations: &'static [Migration],
}

impl Program {
    /// The schemas in force with which it can write.
    #[must_use]
    pub const fn range(&self) -> RangeInclusive<u32> {
        self.beside..=self.writes
    }

    /// Whether something has to be rewritten between two schemas.
    fn rewrites(&self, from: u32, to: u32) -> bool {
        let is_between = |one: &&Migration| (from..to).contains(&one.from);
        self.migrations.iter().filter(is_between).any(|one| matches!(one.how, How::Rows(_)))
    }
}

/// A change of the form, from one schema to the next.
#[derive(Debug)]
pub struct Migration {
    /// The schema that is left.
    pub from: u32,
    /// What it is called.
    pub name: &'static str,
    /// A sentence for the operator.
    pub what: &'static str,
    /// How it is done.
    pub how: How,
}

/// How a migration is done.
#[derive(Debug)]
pub enum How {
    /// At once, when an embedded store is opened, before anything is served.
    AtOpening,
    /// Row by row, while the store is served.
    Rows(&'static dyn Rewrite),
}

/// A change of single rows. Who reads them takes either form; who writes them writes that of the schema in force.
pub trait Rewrite: std::fmt::Debug + Send + Sync {
    /// What the keys of a tenant's rows start with that may be of the older form, in one of the tables `records` and `history`.
    #[doc(hidden)]
    fn among(&self, tenant: TenantId) -> Vec<Span>;
    /// A row in the newer form; `None` where it is already. It is asked again when the row is written.
    ///
    /// # Errors
    /// For a row that can't be read: it stays as it is, and the check names it.
    fn row(&self, sealer: &Sealer, tenant: TenantId, key: &[u8], value: &[u8]) -> StoreResult<Option<Vec<u8>>>;
}

/// The rows of a table whose keys start the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The table.
    pub(in crate::store) table: Table,
    /// What their keys start with.
    pub(in crate::store) prefix: Vec<u8>,
}

/// How a store stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stand {
    /// The schema in force.
    pub schema: u32,
    /// What is under way.
    pub rewriting: Option<Rewriting>,
}

/// Rows of older forms may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewriting {
    /// Of this schema, and later ones.
    pub from: u32,
    /// Tells this pass over all rows from others.
    pub pass: String,
}

impl Stand {
    /// That of a store without a row of an older form.
    #[must_use]
    pub const fn of(schema: u32) -> Self {
        Self { schema, rewriting: None }
    }

    /// The oldest form that rows may have.
    #[must_use]
    pub fn oldest(&self) -> u32 {
        self.rewriting.as_ref().map_or(self.schema, |rewriting| rewriting.from)
    }

    /// The line of the format record behind the one with the schema; none before [`TELLS_STAND`].
    pub(in crate::store) fn line(&self) -> Option<String> {
        (self.schema >= TELLS_STAND).then(|| match &self.rewriting {
            None => WHOLE.to_owned(),
            Some(Rewriting { from, pass }) => format!("{REWRITING}{from}, pass {pass}"),
        })
    }

    /// How a store of this schema stands, by that line.
    pub(in crate::store) fn of_line(schema: u32, line: &str) -> Option<Self> {
        if line == WHOLE {
            return Some(Self::of(schema));
        }
        let (from, pass) = line.strip_prefix(REWRITING)?.split_once(", pass ")?;
        let rewriting = Rewriting { from: from.parse().ok()?, pass: pass.to_owned() };
        Some(Self { schema, rewriting: Some(rewriting) })
    }

    /// Whether no mark of erased versions may be plain.
    pub(in crate::store) fn has_sealed_marks(&self) -> bool {
        self.oldest() >= SEALED_MARKS
    }

    /// Whether a store that stood so may stand otherwise later: neither its schema nor the oldest form of its rows goes back.
    pub(in crate::store) fn may_become(&self, other: &Self) -> bool {
        other.schema >= self.schema && other.oldest() >= self.oldest()
    }

    /// That of a store which a program filled with rows of this schema and later ones.
    pub(in crate::store) fn filled(program: &Program, oldest: u32) -> StoreResult<Self> {
        Self::of(program.writes).with_rows_of(program, oldest)
    }

    /// With another schema in force.
    fn advanced(&self, program: &Program) -> StoreResult<Self> {
        self.with_rows_of(program, self.oldest())
    }

    /// With the schema that a program writes, and rows of older ones.
    fn with_rows_of(&self, program: &Program, from: u32) -> StoreResult<Self> {
        let from = from.min(self.oldest());
        let pass = || {
            let mut random = [0_u8; 8];
            aws_lc_rs::rand::fill(&mut random).map_err(|_| StoreError::Io("the system has no randomness".into()))?;
            Ok::<_, StoreError>(format!("{:016x}", u64::from_be_bytes(random)))
        };
        let is_needed = program.rewrites(from, program.writes);
        let rewriting = if is_needed { Some(Rewriting { from, pass: pass()? }) } else { None };
        Ok(Self { schema: program.writes, rewriting })
    }
}

/// What came of trying to bring the schema that the program writes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// It is in force already.
    Current,
    /// It is in force now.
    Moved,
    /// So many processes are at work that can't write it.
    Waiting(usize),
}

/// What a store does about its schema: a part of [`super::Backend`].
pub trait Schemas: Send + Sync {
    /// How it stands now.
    ///
    /// # Errors
    /// When it can't be read.
    fn stand(&self) -> StoreResult<Stand>;
    /// Brings the schema that this program writes into force, if all other processes can write it.
    ///
    /// # Errors
    /// When it can't be read or written.
    fn advance(&self) -> StoreResult<Advance>;
    /// At most `most` rows of older forms, in an order in which what is written meanwhile is not passed over, from after a row on (the beginning if
    /// empty). They are rewritten by a commit that names them among its `reseals`.
    ///
    /// # Errors
    /// When the store can't be read.
    fn old_forms(&self, tenant: TenantId, after: &[u8], most: usize) -> StoreResult<OldRows>;
    /// Nothing was found of older forms, by this pass.
    ///
    /// # Errors
    /// When it can't be written.
    fn finish(&self, pass: &str) -> StoreResult<()>;
}

/// How a store stands, as this process knows it, and what its program can do.
#[derive(Debug)]
pub(in crate::store) struct Schema {
    pub program: &'static Program,
    stand: RwLock<Stand>,
    renewing: Mutex<()>,
}

impl Schema {
    pub(in crate::store) const fn new(program: &'static Program, stand: Stand) -> Self {
        Self { program, stand: RwLock::new(stand), renewing: Mutex::new(()) }
    }

    pub(in crate::store) fn stand(&self) -> RwLockReadGuard<'_, Stand> {
        self.stand.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Stand> {
        self.stand.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over how a store that others change stands, as `read` finds it. One after the other, so that what was read first never takes the
    /// place of what was read later. Who asks which schema is in force does not wait for it.
    pub(in crate::store) fn renew(&self, read: impl FnOnce() -> StoreResult<Stand>) -> StoreResult<Stand> {
        let _one_at_a_time = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let stand = read()?;
        *self.lock() = stand.clone();
        Ok(stand)
    }

    /// In which form to write.
    pub(in crate::store) fn in_force(&self) -> u32 {
        self.stand().schema
    }

    /// How a store would stand with the schema that this program writes; `None` where it does.
    pub(in crate::store) fn next(&self, now: &Stand) -> StoreResult<Option<Stand>> {
        if now.schema >= self.program.writes { Ok(None) } else { now.advanced(self.program).map(Some) }
    }

    /// Changes how it stands in one step that others wait for; `change` keeps it where it lasts.
    pub(in crate::store) fn change(
        &self,
        change: impl FnOnce(&Stand) -> StoreResult<Option<Stand>>,
    ) -> StoreResult<bool> {
        let mut stand = self.lock();
        let new = change(&stand)?;
        let is_new = new.is_some();
        if let Some(new) = new {
            *stand = new;
        }
        Ok(is_new)
    }

    /// The changes of rows that are under way.
    pub(in crate::store) fn rewrites(&self) -> Vec<&'static dyn Rewrite> {
        let stand = self.stand();
        let Some(rewriting) = &stand.rewriting else { return Vec::new() };
        let under_way = self.program.migrations.iter().filter(|one| (rewriting.from..stand.schema).contains(&one.from));
        let of_rows = |one: &Migration| match one.how {
            How::Rows(rewrite) => Some(rewrite),
            How::AtOpening => None,
        };
        under_way.filter_map(of_rows).collect()
    }

    /// A row as the schema in force has it; `None` where it is so already.
    pub(in crate::store) fn rewritten(
        &self,
        sealer: &Sealer,
        tenant: TenantId,
        table: Table,
        (key, value): &Row,
    ) -> StoreResult<Option<Vec<u8>>> {
        let mut new = None;
        for rewrite in self.rewrites() {
            let is_among = |span: &Span| span.table == table && key.starts_with(&span.prefix);
            if rewrite.among(tenant).iter().any(is_among) {
                let known = new.as_ref().unwrap_or(value);
                new = rewrite.row(sealer, tenant, key, known)?.or(new);
            }
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn each_migration_leads_to_the_next() {
        let steps: Vec<u32> = MIGRATIONS.iter().map(|one| one.from).collect();
        assert_eq!(steps, (OPENS..WRITES).collect::<Vec<_>>());
        const { assert!(OPENS <= BESIDE && BESIDE <= WRITES) };
        assert!(MIGRATIONS.iter().all(|one| one.from >= BESIDE || matches!(one.how, How::AtOpening)));
        for said in [format!("writes schema {WRITES} "), format!("write schema {BESIDE},"), format!("schema {OPENS}.")]
        {
            assert!(VERSION.contains(&said), "{said}");
        }
    }

    static SAME: Program = Program { writes: 9, beside: 8, opens: 8, migrations: &[] };

    #[test]
    fn a_schema_comes_into_force_with_what_is_to_be_rewritten() {
        let schema = Schema::new(&PHAROS, Stand::of(BESIDE));
        assert!(schema.rewrites().is_empty());
        let next = schema.next(&schema.stand()).unwrap().unwrap();
        assert_eq!((next.schema, next.oldest()), (WRITES, BESIDE));
        assert!(schema.change(|_| Ok(Some(next))).unwrap());
        assert_eq!(schema.rewrites().len(), 1);
        assert_eq!(schema.next(&schema.stand()).unwrap(), None);
        let older = schema.stand().with_rows_of(&PHAROS, OPENS).unwrap();
        assert_eq!(older.oldest(), OPENS);
        assert_ne!(older.rewriting.unwrap().pass, schema.stand().rewriting.as_ref().unwrap().pass);
        assert_eq!(Stand::of(8).with_rows_of(&SAME, 8).unwrap(), Stand::of(9), "there is nothing to rewrite");
    }

    #[test]
    fn what_was_read_first_does_not_come_back() {
        let schema = Schema::new(&PHAROS, Stand::of(BESIDE));
        let ((reads, is_reading), (ends, ended)) = (mpsc::channel(), mpsc::channel::<()>());
        std::thread::scope(|scope| {
            let slow = move || {
                reads.send(()).unwrap();
                // Another one that could go on meanwhile does.
                let _none = ended.recv_timeout(Duration::from_millis(200));
                Ok(Stand::of(BESIDE))
            };
            let schema = &schema;
            scope.spawn(move || schema.renew(slow).unwrap());
            is_reading.recv().unwrap();
            schema.renew(|| Ok(Stand::of(WRITES))).unwrap();
            drop(ends);
        });
        assert_eq!(schema.in_force(), WRITES);
    }
}
