//! Pages as Bundles of type searchset: links, entries, warnings. Search writes them, and the operations that search.

use super::{Answer, Context};
use crate::error::{Error, Issue, Result};
use crate::fhir::bundle::{BundleType, BundleWriter, Entry, SearchMode};
use crate::fhir::parse::parse;
use crate::fhir::subset::Subset;
use crate::fhir::tree::Value;
use crate::fhir::{outcome, write};
use crate::key::inner::{Inner, held};
use crate::search::{Page, Query, Summary};

/// What the pages of one search have in common.
#[derive(Clone, Copy)]
pub struct Searchset<'a> {
    /// The request's context.
    pub context: &'a Context,
    /// The path of the search, relative to the base.
    pub path: &'a str,
    /// What a page link belongs to: one of something else is refused.
    pub binding: &'a str,
    /// The parameters that were used, for the links.
    pub pairs: &'a [(String, String)],
}

/// The cursors of a page: its own as it was given, and the contents of those before and after it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Links<'a> {
    /// That of this page.
    pub given: Option<&'a str>,
    /// That of the next one.
    pub next: Option<&'a [u8]>,
    /// That of the one before.
    pub prev: Option<&'a [u8]>,
}

/// What the client should know beside the matches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Warnings<'a> {
    /// The parameters that are not known and were left out.
    pub dropped: &'a [String],
    /// The parameters that lack keys of resources older than they.
    pub unfinished: &'a [String],
}

/// The part of each resource that is asked for.
///
/// # Errors
/// 400 for an unknown value of `_summary`, or elements that the types do not have.
pub fn subset(pairs: &[(String, String)], query: &Query) -> Result<Option<Subset>> {
    if query.summary == Some(Summary::Count) {
        return Ok(None);
    }
    let subset = Subset::from_query(pairs)?;
    if let Some(subset) = &subset {
        let types: Vec<&str> = query.targets.iter().map(|target| &*target.type_name).collect();
        subset.check(&types)?;
    }
    Ok(subset)
}

impl Searchset<'_> {
    /// The content of a cursor in a page link.
    ///
    /// # Errors
    /// 400 where it was altered, is of another search, or too old.
    pub fn open(&self, cursor: &str) -> Result<Vec<u8>> {
        let context = self.context;
        context.cursors.open(context.clock.now(), self.binding.as_bytes(), cursor)
    }

    /// A page as a Bundle.
    ///
    /// # Errors
    /// When stored bytes are damaged.
    pub fn answer(
        &self,
        page: &Page,
        links: Links<'_>,
        subset: Option<&Subset>,
        warnings: &Warnings<'_>,
    ) -> Result<Answer> {
        let context = self.context;
        let now = context.clock.now();
        let seal = |content: &[u8]| context.cursors.seal(now, self.binding.as_bytes(), content);
        let mut writer = BundleWriter::new(BundleType::Searchset, Some(now));
        if let Some(total) = page.total {
            writer.total(total);
        }
        writer.link("self", &self.url(links.given));
        writer.link("first", &self.url(None));
        for (relation, content) in [("prev", links.prev), ("next", links.next)] {
            if let Some(cursor) = content.map(seal).transpose()? {
                writer.link(relation, &self.url(Some(&cursor)));
            }
        }
        self.write_entries(&mut writer, page, subset)?;
        write_warnings(&mut writer, warnings, page);
        Ok(Answer::ok(writer.finish()))
    }

    fn url(&self, cursor: Option<&str>) -> String {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(self.pairs);
        pairs.extend_pairs(cursor.map(|cursor| ("_cursor", cursor)));
        let (base, path, pairs) = (&self.context.base, self.path, pairs.finish());
        if pairs.is_empty() { format!("{base}/{path}") } else { format!("{base}/{path}?{pairs}") }
    }

    fn write_entries(&self, writer: &mut BundleWriter, page: &Page, subset: Option<&Subset>) -> Result<()> {
        let matches = page.matches.iter().map(|found| (&found.version, found.inner.as_ref(), SearchMode::Match));
        let included = page.included.iter().map(|version| (version, None, SearchMode::Include));
        for (version, inner, mode) in matches.chain(included) {
            let mut body = self.context.give(version)?;
            let mut full_url = self.context.url(&version.type_name, &version.id, None);
            if let Some(inner) = inner {
                let id;
                (id, body) = contained(&body, inner)?;
                full_url = format!("{full_url}#{id}");
            }
            if let Some(subset) = subset {
                body = subset.apply_to_bytes(&body)?;
            }
            let (full_url, resource) = (Some(full_url.as_str()), Some(body.as_slice()));
            writer.entry(&Entry { full_url, resource, search: Some(mode), ..Entry::default() });
        }
        Ok(())
    }
}

/// A contained resource in the JSON of what contains it: its id and its own JSON.
fn contained(body: &[u8], inner: &Inner) -> Result<(String, Vec<u8>)> {
    let tree = parse(body, usize::MAX).map_err(Error::internal)?;
    let held = tree.as_object().map(held).unwrap_or_default();
    let Some(found) = held.iter().find(|held| held.inner == *inner) else {
        return Err(Error::internal("a contained resource is missing"));
    };
    let id = found.resource.id().unwrap_or_default().to_owned();
    Ok((id, write::to_vec(&Value::from(found.resource.clone()))))
}

/// What the client should know beside the matches, as an entry of mode `outcome`.
fn write_warnings(writer: &mut BundleWriter, warnings: &Warnings<'_>, page: &Page) {
    let dropped = warnings.dropped.iter().map(|name| {
        let text = format!("The search parameter {} is not known and was left out.", name.escape_default());
        Issue::warning("not-supported", text)
    });
    let mut issues: Vec<Issue> = dropped.collect();
    issues.extend(warnings.unfinished.iter().map(|name| {
        let text = format!(
            "Resources older than the search parameter {name} may be missing here, or be found by its former definition, until $reindex is done."
        );
        Issue::warning("incomplete", text)
    }));
    if page.is_cut {
        let text = "More resources would be included than limits.include_max allows; the rest is left out.";
        issues.push(Issue::warning("incomplete", text));
    }
    issues.extend(page.plan.iter().map(|note| Issue::information("informational", note.clone())));
    if !issues.is_empty() {
        let outcome = write::to_vec(&outcome::outcome(&issues));
        let (resource, search) = (Some(outcome.as_slice()), Some(SearchMode::Outcome));
        writer.entry(&Entry { resource, search, ..Entry::default() });
    }
}
