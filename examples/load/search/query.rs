//! A query of the workload: its address, and what is expected of the answer.

use super::criterion::Condition;
use super::parameter::Parameter;
use std::rc::Rc;

/// Matches of a page.
pub const PAGE: u32 = 20;

/// What an answer consists of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A page of matches.
    Page,
    /// A page of matches, and the count of all.
    Total,
    /// Only the count of all.
    Count,
    /// A record: `$everything`.
    Record,
}

/// One query.
#[derive(Clone)]
pub struct Query {
    /// The type of the matches; of a record, `Patient/id/$everything`.
    pub target: String,
    pub conditions: Vec<Condition>,
    /// A resource that is known to match: its id.
    pub known: Option<String>,
    pub shape: Shape,
    /// Parameters to sort by, and whether descending.
    pub sort: Vec<(Rc<Parameter>, bool)>,
    pub include: Option<Rc<Parameter>>,
    /// The type of what refers to the matches, and by which parameter.
    pub revinclude: Option<(String, Rc<Parameter>)>,
    /// How many pages to turn first.
    pub depth: usize,
}

impl Query {
    pub fn of(target: &str, conditions: Vec<Condition>) -> Self {
        Self {
            target: target.to_owned(),
            conditions,
            known: None,
            shape: Shape::Page,
            sort: Vec::new(),
            include: None,
            revinclude: None,
            depth: 0,
        }
    }

    /// Its path under the base, of the first page.
    pub fn path(&self) -> String {
        let result = self.result_parameters();
        match self.shape {
            Shape::Record => self.target.clone(),
            Shape::Count => self.with(&[("_summary".into(), "count".into())]),
            _ => self.with(&[result, vec![("_count".into(), PAGE.to_string())]].concat()),
        }
    }

    /// The path of its criteria with these parameters instead of its own.
    pub fn with(&self, parameters: &[(String, String)]) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(self.conditions.iter().map(Condition::pair)).extend_pairs(parameters);
        format!("{}?{}", self.target, text.finish())
    }

    fn result_parameters(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        if !self.sort.is_empty() {
            let keys =
                self.sort.iter().map(|(key, descends)| format!("{}{}", if *descends { "-" } else { "" }, key.code));
            pairs.push(("_sort".into(), keys.collect::<Vec<_>>().join(",")));
        }
        if let Some(include) = &self.include {
            pairs.push(("_include".into(), format!("{}:{}", self.target, include.code)));
        }
        if let Some((source, parameter)) = &self.revinclude {
            pairs.push(("_revinclude".into(), format!("{source}:{}", parameter.code)));
        }
        if self.shape == Shape::Total {
            pairs.push(("_total".into(), "accurate".into()));
        }
        pairs
    }

    /// What it is like, without the values.
    pub fn shape_text(&self) -> String {
        if self.shape == Shape::Record {
            return "Patient/…/$everything".to_owned();
        }
        let result = self.result_parameters().into_iter().map(|(name, value)| format!("{name}={value}"));
        let mut parts: Vec<String> = self.conditions.iter().map(Condition::shape).chain(result).collect();
        if self.shape == Shape::Count {
            parts.push("_summary=count".to_owned());
        }
        let place = if self.depth > 0 { format!(" (page {})", self.depth + 1) } else { String::new() };
        format!("{}?{}{place}", self.target, parts.join("&"))
    }
}
