//! The work that rewrites what a tenant has in older forms: see [`crate::store::schema`].
//!
//! The tenant is gone through until one pass has found nothing. Writes go on meanwhile, in the form of the schema in force; a part rewrites a row as
//! the store has it when the part is committed, so none is undone.

use super::{Job, New, Part, Turn, Work};
use crate::auth::agent::Agent;
use crate::error::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

/// The kind of work, and the id of the one job of it in a tenant.
pub const KIND: &str = "migration";

/// Rows that are rewritten in one part.
const TOGETHER: usize = 100;
/// Passes after which what is found can't be rewritten: the first does the work, the second finds nothing.
const MOST_PASSES: u32 = 4;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// Of which pass over all rows of the store it is a part: [`crate::store::schema::Rewriting`].
    pub pass: String,
}

impl Parameters {
    /// The job that is asked for.
    ///
    /// # Errors
    /// When it can't be written as JSON.
    pub fn job(&self) -> Result<New> {
        let parameters = serde_json::to_value(self).map_err(Error::internal)?;
        Ok(New { kind: KIND, owner: Agent::server(), parameters })
    }

    /// Whether a job is that one.
    #[must_use]
    pub fn are_of(&self, job: &Job) -> bool {
        job.parameters.get("pass").and_then(serde_json::Value::as_str) == Some(&self.pass)
    }
}

/// Where the next part begins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Position {
    round: u32,
    /// Rows that this round has found.
    found: u64,
    /// The last row that was passed, in base64.
    after: String,
}

/// See [`crate::store::schema::Schemas::old_forms`].
#[derive(Debug)]
pub struct Migrate;

impl Work for Migrate {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn is_for_suspended(&self) -> bool {
        true
    }

    fn step(&self, turn: &Turn<'_>) -> Result<Part> {
        let schemas = turn.store.schemas().ok_or_else(|| Error::internal("this store has no schema"))?;
        let position: Position = serde_json::from_value(turn.job.position.clone()).unwrap_or_default();
        let after = STANDARD_NO_PAD.decode(&position.after).map_err(Error::internal)?;
        let old = schemas.old_forms(turn.tenant(), &after, TOGETHER)?;
        let count = old.rows.len() as u64;
        let found = position.found + count;
        let is_over = old.next.is_none() && found == 0;
        let next = match old.next {
            Some(row) => Position { found, after: STANDARD_NO_PAD.encode(row), ..position },
            None if position.round >= MOST_PASSES => {
                return Err(Error::internal(format!("{found} rows can't be rewritten: `pharos check` names them")));
            }
            None => Position { round: position.round + 1, ..Position::default() },
        };
        let mut part = turn.part();
        part.commit.reseals = old.rows;
        let position = serde_json::to_value(next).map_err(Error::internal)?;
        Ok(Part { position, done: count, is_last: is_over, ..part })
    }
}
