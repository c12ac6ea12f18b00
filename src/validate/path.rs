//! Where the checks stand: a chain of steps on the stack, written out only for an issue.

use std::fmt;

/// A place in a resource.
#[derive(Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Name(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    pub(super) const fn root(resource_type: &'p str) -> Self {
        Self { parent: None, step: Step::Name(resource_type) }
    }

    pub(super) const fn name(&'p self, name: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Name(name) }
    }

    pub(super) const fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// The position in a list, where this is an item of one.
    pub(super) const fn last_index(&self) -> Option<usize> {
        match self.step {
            Step::Index(index) => Some(index),
            Step::Name(_) => None,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match (self.step, self.parent) {
            (Step::Index(index), _) => write!(f, "[{index}]"),
            // A name that nobody defined could be anything: text of a patient, a whole page.
            (Step::Name(name), None) if !is_plain(name) => write!(f, "Resource"),
            (Step::Name(name), None) => write!(f, "{name}"),
            (Step::Name(name), Some(_)) => write!(f, ".{name}"),
        }
    }
}

/// Whether a name that the definitions do not have may be repeated in a message.
pub(super) fn is_plain(name: &str) -> bool {
    name.len() <= 64 && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
