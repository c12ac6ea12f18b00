//! `_explain`: what a search did to find its page. Names parameters, never their values.

use super::budget::Budget;
use crate::key::Expr;
use crate::key::bytes::END;
use std::cell::{Cell, RefCell};
use std::fmt::Write;

/// More notes than these are not kept.
const NOTES_MAX: usize = 100;

/// What is noted while a search runs.
#[derive(Debug, Default)]
pub struct Trace {
    notes: Option<RefCell<Vec<String>>>,
    checked: Cell<u64>,
    sought: Cell<u64>,
}

impl Trace {
    /// Notes are kept only where somebody asks for them.
    pub fn new(is_wanted: bool) -> Self {
        Self { notes: is_wanted.then(RefCell::default), ..Self::default() }
    }

    /// A key list was read.
    pub fn count_checked(&self) {
        self.checked.set(self.checked.get() + 1);
    }

    /// A place in the postings, or a record, was sought.
    pub fn count_sought(&self) {
        self.sought.set(self.sought.get() + 1);
    }

    /// How many places were sought.
    pub const fn sought(&self) -> u64 {
        self.sought.get()
    }

    /// How many key lists were read.
    pub const fn checked(&self) -> u64 {
        self.checked.get()
    }

    /// Keeps a note.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if let Some(notes) = &self.notes
            && let Ok(mut notes) = notes.try_borrow_mut()
            && notes.len() < NOTES_MAX
        {
            notes.push(text());
        }
    }

    /// The notes, and at their end what was read.
    pub fn finish(&self, budget: &Budget) -> Vec<String> {
        let Some(notes) = &self.notes else { return Vec::new() };
        let mut notes = notes.take();
        let (all, checked) = (budget.taken(), self.checked.get());
        notes
            .push(format!("Read: {} postings, and the key lists of {checked} resources.", all.saturating_sub(checked)));
        notes
    }
}

/// A set in words.
pub fn describe(expr: &Expr) -> String {
    match expr {
        Expr::All => "everything".into(),
        Expr::Keys(range) => code_of(&range.from),
        Expr::Covered(range, _) => format!("{} (hidden)", code_of(&range.from)),
        Expr::Not(inner) => format!("not ({})", describe(inner)),
        Expr::And(parts) => joined(parts, " and "),
        Expr::Or(parts) if parts.is_empty() => "nothing".into(),
        Expr::Or(parts) => joined(parts, " or "),
        Expr::Refers { code, target, expr } => format!("{code}:{target} ({})", describe(expr)),
        Expr::InPatients(_) => "what the patients consent to".into(),
        Expr::ReferredBy { source, code, expr } => format!("_has:{source}:{code} ({})", describe(expr)),
    }
}

/// Several sets in words; what is the same is counted.
pub fn joined(parts: &[Expr], between: &str) -> String {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for part in parts.iter().map(describe) {
        match counted.iter_mut().find(|(text, _)| *text == part) {
            Some((_, count)) => *count += 1,
            None => counted.push((part, 1)),
        }
    }
    let mut text = String::new();
    for (part, count) in counted {
        let before = if text.is_empty() { "" } else { between };
        let times = if count > 1 { format!(" ({count} ranges)") } else { String::new() };
        let _ = write!(text, "{before}{part}{times}");
    }
    text
}

/// The parameter of a key.
fn code_of(key: &[u8]) -> String {
    let code = key.split(|byte| *byte == END).next().unwrap_or_default();
    String::from_utf8_lossy(code).into_owned()
}
