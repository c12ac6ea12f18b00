//! Pages as Bundles of type searchset: links, entries, warnings. Search writes them, and the operations that search.

use super::{Answer, Context, body_of};
use crate::error::{Issue, Result};
use crate::fhir::bundle::{BundleType, BundleWriter, Entry, SearchMode};
use crate::fhir::subset::Subset;
use crate::fhir::{outcome, write};
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

    /// A page as a Bundle. `cursors` are that of this page as it was given, and the content of the next one's.
    ///
    /// # Errors
    /// When stored bytes are damaged.
    pub fn answer(
        &self,
        page: &Page,
        (given, next): (Option<&str>, Option<&[u8]>),
        subset: Option<&Subset>,
        warnings: &Warnings<'_>,
    ) -> Result<Answer> {
        let context = self.context;
        let now = context.clock.now();
        let next = next.map(|next| context.cursors.seal(now, self.binding.as_bytes(), next)).transpose()?;
        let mut writer = BundleWriter::new(BundleType::Searchset, Some(now));
        if let Some(total) = page.total {
            writer.total(total);
        }
        writer.link("self", &self.url(given));
        writer.link("first", &self.url(None));
        if let Some(next) = &next {
            writer.link("next", &self.url(Some(next)));
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
        let matches = page.matches.iter().map(|version| (version, SearchMode::Match));
        let included = page.included.iter().map(|version| (version, SearchMode::Include));
        for (version, mode) in matches.chain(included) {
            let mut body = body_of(version)?;
            if let Some(subset) = subset {
                body = subset.apply_to_bytes(&body)?;
            }
            let full_url = self.context.url(&version.type_name, &version.id, None);
            let (full_url, resource) = (Some(full_url.as_str()), Some(body.as_slice()));
            writer.entry(&Entry { full_url, resource, search: Some(mode), ..Entry::default() });
        }
        Ok(())
    }
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
