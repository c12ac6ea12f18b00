//! Conditional references: <https://hl7.org/fhir/R4/http.html#trules>.
//!
//! They are resolved after all changes of their transaction, so they find what it stores, and not what it deletes.

use super::call::known_type;
use super::{Context, criteria};
use crate::error::{Category, Error, Result};
use crate::fhir::tree::Object;
use crate::key::KeyList;
use crate::search;
use crate::store::{Guard, Records};
use std::collections::{HashMap, HashSet};

/// What a transaction is about to do: all names are type and id.
#[derive(Default)]
pub struct Pending<'p, 'a> {
    stored: Vec<(&'p str, &'p str, &'p Object<'a>)>,
    changed: HashSet<(&'p str, &'p str)>,
    /// The search keys of what is stored, by type; made when a reference asks for the type.
    keys: HashMap<&'p str, Vec<(&'p str, KeyList)>>,
}

impl<'p, 'a> Pending<'p, 'a> {
    /// This resource is stored.
    pub fn store(&mut self, type_name: &'p str, id: &'p str, resource: &'p Object<'a>) {
        self.stored.push((type_name, id, resource));
        self.changed.insert((type_name, id));
    }

    /// This resource is deleted.
    pub fn remove(&mut self, type_name: &'p str, id: &'p str) {
        self.changed.insert((type_name, id));
    }

    /// The one resource (`Type/id`) that a conditional reference means, and what that rests on.
    ///
    /// # Errors
    /// 412 where none or several match; 400 for criteria that are no search.
    pub fn resolve(
        &mut self,
        context: &Context,
        records: &Records,
        reference: &'p str,
    ) -> Result<(String, Vec<Guard>)> {
        let (type_name, query) = reference.split_once('?').unwrap_or((reference, ""));
        known_type(type_name)?;
        let criteria = criteria::required(&criteria::pairs(query))?;
        let most = 2 + self.changed.iter().filter(|(changed, _)| *changed == type_name).count();
        let (versions, guards) = criteria::find_up_to(context, records, type_name, &criteria, most)?;
        let is_untouched = |id: &&str| !self.changed.contains(&(type_name, *id));
        let there = versions.iter().map(|version| &*version.id).filter(is_untouched).map(str::to_owned);
        let mut matches: Vec<String> = there.collect();
        let (query, budget) = (criteria::query(context, type_name, &criteria)?, context.search_budget());
        for (id, keys) in self.keys_of(context, type_name) {
            if search::would_match(records, &query, keys, &budget)? {
                matches.push((*id).to_owned());
            }
        }
        match matches.as_slice() {
            [id] => Ok((format!("{type_name}/{id}"), guards)),
            [] => {
                let text = "A conditional reference matches no resource.";
                Err(Error::new(Category::PreconditionFailed, "not-found", text))
            }
            _ => Err(criteria::several()),
        }
    }

    fn keys_of(&mut self, context: &Context, type_name: &'p str) -> &[(&'p str, KeyList)] {
        let of_type = self.stored.iter().filter(|(stored, ..)| *stored == type_name);
        let keys = |(_, id, resource): &(_, &'p str, &'p Object<'a>)| (*id, context.conformance.keys(resource));
        self.keys.entry(type_name).or_insert_with(|| of_type.map(keys).collect())
    }
}
