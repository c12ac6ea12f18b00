//! The parameters of `$everything`.

use crate::config::Handling;
use crate::error::{Error, Result};
use crate::fhir::definitions;
use crate::interaction::Context;
use crate::key::care::{care_date_codes, care_dates};
use crate::key::date::{self, Span};
use crate::key::{Expr, Prefix, prefix_of};
use crate::operation::parameters;
use crate::search::Target;

/// What is asked for.
pub struct Wanted {
    /// Entries of a page.
    pub count: usize,
    start: Option<Span>,
    end: Option<Span>,
    since: Option<Span>,
    /// Empty for all.
    types: Vec<String>,
    /// The parameters that were used, for links.
    pub used: Vec<(String, String)>,
    /// The names of those that are unknown and left out.
    pub dropped: Vec<String>,
}

impl Wanted {
    /// Reads the parameters; `start` and `end` are among them where `has_care_dates`.
    ///
    /// # Errors
    /// 400 for those that are unknown or malformed.
    pub fn read(
        context: &Context,
        pairs: &[(String, String)],
        handling: Handling,
        has_care_dates: bool,
    ) -> Result<Self> {
        let count = context.limits.page_max;
        let mut wanted = Self {
            count,
            start: None,
            end: None,
            since: None,
            types: Vec::new(),
            used: Vec::new(),
            dropped: Vec::new(),
        };
        for (name, value) in pairs {
            let bad = |what: &str| Error::invalid(format!("{name} must be {what}.")).at(name.clone());
            let time = || Span::parse(value).map(Some).ok_or_else(|| bad("a date or a time"));
            match name.as_str() {
                "start" if has_care_dates => wanted.start = time()?,
                "end" if has_care_dates => wanted.end = time()?,
                "_since" => wanted.since = time()?,
                "_type" => {
                    for name in value.split(',') {
                        if !definitions::r4().is_resource_type(name) {
                            return Err(bad("resource types of R4, separated by commas"));
                        }
                        wanted.types.push(name.to_owned());
                    }
                }
                "_count" => {
                    let count: usize =
                        value.parse().ok().filter(|count| *count > 0).ok_or_else(|| bad("a whole number above 0"))?;
                    wanted.count = count.min(context.limits.page_max);
                }
                _ if handling == Handling::Lenient => {
                    wanted.dropped.push(name.clone());
                    continue;
                }
                _ => return Err(parameters::unknown("$everything", name)),
            }
            wanted.used.push((name.clone(), value.clone()));
        }
        Ok(wanted)
    }

    /// Whether resources of a type are a part of a record. Who has seen a record is none, but can be asked for.
    pub fn is_of_record(&self, type_name: &str) -> bool {
        type_name != "AuditEvent" || self.types.iter().any(|name| name == type_name)
    }

    /// The part of a set of the compartment whose care dates are wanted: what has none is.
    pub fn in_care_dates(&self, target: Target) -> Target {
        let codes = care_date_codes(&target.type_name);
        if codes.is_empty() {
            return target;
        }
        let dates = care_dates(codes, (self.start, self.end), true);
        Target { type_name: target.type_name, expr: Expr::and([target.expr, dates]) }
    }

    /// The sets of wanted types, as far as they changed since the wanted time.
    pub fn narrowed(&self, targets: &[Target]) -> Vec<Target> {
        let is_wanted =
            |target: &&Target| self.types.is_empty() || self.types.iter().any(|name| *name == *target.type_name);
        let since = self.since.map(|since| {
            let ranges = date::matching(Prefix::Ge, since, crate::clock::Micros(0));
            Expr::any(ranges.into_iter().map(|range| range.under(&prefix_of("_lastUpdated"))))
        });
        let narrow = |target: &Target| Target {
            type_name: target.type_name.clone(),
            expr: Expr::and([target.expr.clone()].into_iter().chain(since.clone())),
        };
        targets.iter().filter(is_wanted).map(narrow).collect()
    }
}
