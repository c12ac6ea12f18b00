//! `_include` and `_revinclude`: what the matches refer to, and what refers to them.
//!
//! <https://hl7.org/fhir/R4/search.html#include>

use super::engine::{Run, failed, reference_key, references};
use super::inner::keys_of;
use super::page::{Match, current};
use super::query::{Include, Query};
use super::registry::Registry;
use crate::auth::access::Allowed;
use crate::auth::scope::Letters;
use crate::error::Result;
use crate::fhir::definitions::{self, SearchParameter};
use crate::key::inner::Inner;
use crate::key::reference::{matching_uri, url_in};
use crate::key::{KeyList, id_in, prefix_of};
use crate::store::{Expected, Records, Rid, Version};
use rustc_hash::FxHashSet;

/// What a page includes, each resource once; and whether there would be more.
pub fn included(run: &Run<'_>, records: &Records, query: &Query, matches: &[Match]) -> Result<(Vec<Version>, bool)> {
    let mut gathering = Gathering {
        run,
        records,
        registry: &query.registry,
        seen: matches.iter().filter(|found| found.inner.is_none()).map(|found| found.version.rid).collect(),
        found: Vec::new(),
        limit: query.limits.includes,
        is_cut: false,
    };
    if query.includes.is_empty() {
        return Ok((Vec::new(), false));
    }
    let source = |version: &Version, inner: &Option<Inner>| (version.rid, version.type_name.clone(), inner.clone());
    let mut round: Vec<Source> = matches.iter().map(|found| source(&found.version, &found.inner)).collect();
    for depth in 0..=query.limits.include_depth {
        let start = gathering.found.len();
        let rules: Vec<_> = query.includes.iter().filter(|rule| depth == 0 || rule.iterate).collect();
        if rules.is_empty() {
            break;
        }
        gathering.expect(&round, &rules)?;
        for (rid, type_name, inner) in &round {
            gathering.follow(*rid, type_name, inner.as_ref(), &rules)?;
        }
        round = gathering.found.get(start..).unwrap_or_default().iter().map(|version| source(version, &None)).collect();
        if round.is_empty() || gathering.is_cut {
            break;
        }
    }
    Ok((gathering.found, gathering.is_cut))
}

/// What may refer: a resource, or one that is contained in it.
type Source = (Rid, Box<str>, Option<Inner>);

struct Gathering<'r> {
    run: &'r Run<'r>,
    records: &'r Records,
    registry: &'r Registry,
    seen: FxHashSet<Rid>,
    found: Vec<Version>,
    limit: usize,
    is_cut: bool,
}

impl Gathering<'_> {
    /// Tells a store that is far away what is about to be looked up: the keys of what may refer, then what these lead to.
    fn expect(&self, round: &[Source], rules: &[&Include]) -> Result<()> {
        if !self.run.is_far {
            return Ok(());
        }
        let rids: Vec<Rid> = round.iter().map(|(rid, ..)| *rid).collect();
        self.run.view.expect(Expected { keys_of: &rids, ..Expected::default() }).map_err(failed)?;
        let mut lists = Vec::with_capacity(round.len());
        for (rid, type_name, inner) in round {
            let Some(keys) = self.run.view.keys(*rid).map_err(failed)? else { continue };
            lists.push(match inner {
                Some(inner) => (&inner.type_name, keys_of(&keys, inner), true),
                None => (type_name, keys, false),
            });
        }
        let (mut ids, mut having) = (Vec::new(), Vec::new());
        for (rule, (type_name, keys, is_inner)) in
            rules.iter().flat_map(|rule| lists.iter().map(move |list| (*rule, list)))
        {
            if rule.reverse && !is_inner {
                having.extend(self.pointing_at(type_name, keys, rule));
            } else if !rule.reverse && rule.comes_from(type_name) {
                for code in codes(self.registry, type_name, rule) {
                    ids.extend(references(keys, code).filter(|(target, _)| rule.leads_to(target)));
                    having.extend(self.canonical(type_name, keys, code, rule));
                }
            }
        }
        ids.truncate(self.limit);
        self.run.view.expect(Expected { ids: &ids, ..Expected::default() }).map_err(failed)?;
        self.expect_having(&having)
    }

    /// The same of the resources that have these keys.
    fn expect_having(&self, having: &[(&str, Box<[u8]>)]) -> Result<()> {
        let view = self.run.view;
        let keys: Vec<(&str, &[u8])> = having.iter().map(|(type_name, key)| (*type_name, &**key)).collect();
        view.expect(Expected { having: &keys, ..Expected::default() }).map_err(failed)?;
        let (mut currents, mut keys_of) = (Vec::new(), Vec::new());
        for (type_name, key) in keys {
            let allowed = self.records.grant().allowed(type_name, Letters::READ | Letters::SEARCH);
            for rid in view.rids(type_name, key, Rid(0)).take(self.limit.saturating_sub(currents.len())) {
                self.run.budget.step()?;
                let rid = rid.map_err(failed)?;
                currents.push(rid);
                keys_of.extend(matches!(allowed, Allowed::Part(_)).then_some(rid));
            }
        }
        let expected = Expected { currents: &currents, keys_of: &keys_of, ..Expected::default() };
        view.expect(expected).map_err(failed)
    }

    fn follow(&mut self, rid: Rid, type_name: &str, inner: Option<&Inner>, rules: &[&Include]) -> Result<()> {
        let Some(keys) = self.run.keys(rid)? else { return Ok(()) };
        let (type_name, keys) = match inner {
            Some(inner) => (&*inner.type_name, keys_of(&keys, inner)),
            None => (type_name, keys),
        };
        for rule in rules {
            if rule.reverse {
                // Nothing outside can refer to what is contained.
                if inner.is_none() {
                    self.reverse(type_name, &keys, rule)?;
                }
            } else if rule.comes_from(type_name) {
                for code in codes(self.registry, type_name, rule) {
                    self.forward(type_name, &keys, code, rule)?;
                }
            }
        }
        Ok(())
    }

    fn forward(&mut self, type_name: &str, keys: &KeyList, code: &str, rule: &Include) -> Result<()> {
        let is_wanted = |name: &str| rule.leads_to(name);
        for (target, id) in references(keys, code).filter(|(target, _)| is_wanted(target)) {
            if let Some(rid) = self.run.view.find(target, id).map_err(failed)? {
                self.add(target, rid)?;
            }
        }
        for (target, key) in self.canonical(type_name, keys, code, rule) {
            for rid in self.run.view.rids(target, &key, Rid(0)) {
                self.run.budget.step()?;
                self.add(target, rid.map_err(failed)?)?;
            }
        }
        Ok(())
    }

    /// By which keys what a resource refers to by a canonical URL is found, each with its type.
    fn canonical(&self, type_name: &str, keys: &KeyList, code: &str, rule: &Include) -> Vec<(&'static str, Box<[u8]>)> {
        let prefix = [&prefix_of(code)[..], b"u"].concat();
        let urls: Vec<_> = keys.starting_with(&prefix).filter_map(|key| url_in(key, code.len())).collect();
        let Some(parameter) = self.registry.parameter(type_name, code).filter(|_| !urls.is_empty()) else {
            return Vec::new();
        };
        let has_url = |target: &&&str| rule.leads_to(target) && self.registry.parameter(target, "url").is_some();
        let key = |url: &str| matching_uri(url).under(&prefix_of("url")).from;
        let keys: Vec<_> = urls.iter().filter(|url| !url.contains('|')).map(|url| key(url)).collect();
        let targets = parameter.targets.iter().filter(has_url);
        targets.flat_map(|target| keys.iter().map(|key| (*target, key.clone()))).collect()
    }

    fn reverse(&mut self, type_name: &str, keys: &KeyList, rule: &Include) -> Result<()> {
        for (source, key) in self.pointing_at(type_name, keys, rule) {
            self.run.budget.step()?;
            for rid in self.run.view.rids(source, &key, Rid(0)) {
                self.run.budget.step()?;
                self.add(source, rid.map_err(failed)?)?;
                if self.is_cut {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// By which keys what refers to a resource is found, each with its type.
    fn pointing_at<'q>(&self, type_name: &str, keys: &KeyList, rule: &'q Include) -> Vec<(&'q str, Box<[u8]>)> {
        let Some(id) = id_in(keys).filter(|_| rule.target.as_deref().is_none_or(|target| target == type_name)) else {
            return Vec::new();
        };
        let sources = match rule.source.as_deref() {
            Some(source) => vec![source],
            None => definitions::r4().resource_types().to_vec(),
        };
        let may_point_here = |found: &SearchParameter| found.targets.is_empty() || found.targets.contains(&type_name);
        let mut all = Vec::new();
        for source in sources {
            let codes = codes(self.registry, source, rule).into_iter();
            let codes = codes.filter(|code| self.registry.parameter(source, code).is_some_and(may_point_here));
            all.extend(codes.map(|code| (source, reference_key(code, type_name, id))));
        }
        all
    }

    /// Adds a resource, unless it is there already, is deleted, or the grant does not reach it.
    fn add(&mut self, type_name: &str, rid: Rid) -> Result<()> {
        if self.is_cut || self.seen.contains(&rid) {
            return Ok(());
        }
        let is_reached = match self.records.grant().allowed(type_name, Letters::READ | Letters::SEARCH) {
            Allowed::Nothing => false,
            Allowed::Everything => true,
            Allowed::Part(expr) => self.run.contains(type_name, rid, &expr)?,
        };
        if !is_reached {
            return Ok(());
        }
        self.run.budget.step()?;
        let Some(version) = current(self.run, rid)? else { return Ok(()) };
        if self.found.len() == self.limit {
            self.is_cut = true;
            return Ok(());
        }
        self.seen.insert(rid);
        self.found.push(version);
        Ok(())
    }
}

/// The parameters that a rule names for a type that refers.
fn codes<'r>(registry: &'r Registry, type_name: &'r str, rule: &'r Include) -> Vec<&'r str> {
    match rule.code.as_deref() {
        Some(code) => vec![code],
        None => registry.references(type_name).map(|parameter| &*parameter.code).collect(),
    }
}
