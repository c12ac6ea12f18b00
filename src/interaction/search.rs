//! search: <https://hl7.org/fhir/R4/http.html#search>, <https://hl7.org/fhir/R4/search.html>, in compartments too.
//!
//! The engine is [`crate::search`]; here its pages become Bundles.

use super::call::Call;
use super::{Answer, Context, Request, body_of};
use crate::error::{Error, Issue, Result};
use crate::fhir::bundle::{BundleType, BundleWriter, Entry, SearchMode};
use crate::fhir::subset::Subset;
use crate::fhir::{outcome, write};
use crate::key::Expr;
use crate::search::{self, Cursor, Page, Query, Summary};
use crate::store::Version;

/// A page of what matches, with what `_include` and `_revinclude` add.
///
/// # Errors
/// 400 for a parameter that is unknown (unless handling is lenient), malformed or not supported.
pub fn search(context: &Context, request: &Request<'_>) -> Result<Answer> {
    let (path, query) = read(context, request)?;
    let subset = subset(request, &query)?;
    let binding = format!("{} {path}", context.grant.tenant().0);
    let now = context.clock.now();
    let cursor = match request.parameter("_cursor") {
        Some(text) => Some(Cursor::from_bytes(&context.cursors.open(now, binding.as_bytes(), text)?, &query)?),
        None => None,
    };
    let records = context.open()?;
    let page = search::run(&records, &query, cursor.as_ref(), &context.search_budget())?;
    let next = match &page.next {
        Some(next) => Some(context.cursors.seal(now, binding.as_bytes(), &next.to_bytes(&query))?),
        None => None,
    };
    let links = Links { path: format!("{}/{path}", context.base), query: &query };
    let mut writer = BundleWriter::new(BundleType::Searchset, Some(now));
    if let Some(total) = page.total {
        writer.total(total);
    }
    writer.link("self", &links.url(request.parameter("_cursor")));
    writer.link("first", &links.url(None));
    if let Some(next) = &next {
        writer.link("next", &links.url(Some(next)));
    }
    write_entries(context, &mut writer, &page, subset.as_ref())?;
    write_warnings(&mut writer, &query, &page);
    Ok(Answer::ok(writer.finish()))
}

/// The path of a search, relative to the base, and its query.
fn read(context: &Context, request: &Request<'_>) -> Result<(String, Query)> {
    let pairs: Vec<_> = request.query.iter().filter(|(name, _)| name != "_cursor").cloned().collect();
    let options = context.search_options(request.handling);
    let parse = |type_name| search::parse(&search::Registry::default(), type_name, &pairs, &options);
    match &request.call {
        Call::Search { type_name } => Ok((type_name.clone().unwrap_or_default(), parse(type_name.as_deref())?)),
        Call::CompartmentSearch { compartment, id, type_name } => {
            let mut query = parse(type_name.as_deref())?;
            query.targets = std::mem::take(&mut query.targets)
                .into_iter()
                .filter_map(|mut target| {
                    let inside = search::compartment(compartment, id, &target.type_name)?;
                    target.expr = Expr::And(vec![inside, target.expr]);
                    Some(target)
                })
                .collect();
            if query.targets.is_empty() {
                return Err(Error::invalid("Resources of this type are in no such compartment."));
            }
            Ok((format!("{compartment}/{id}/{}", type_name.as_deref().unwrap_or("*")), query))
        }
        _ => Err(Error::internal("not a search")),
    }
}

/// The part of each resource that is asked for.
fn subset(request: &Request<'_>, query: &Query) -> Result<Option<Subset>> {
    if query.summary == Some(Summary::Count) {
        return Ok(None);
    }
    let subset = Subset::from_query(&request.query)?;
    if let Some(subset) = &subset {
        let types: Vec<&str> = query.targets.iter().map(|target| &*target.type_name).collect();
        subset.check(&types)?;
    }
    Ok(subset)
}

struct Links<'q> {
    path: String,
    query: &'q Query,
}

impl Links<'_> {
    fn url(&self, cursor: Option<&str>) -> String {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(search::self_pairs(self.query));
        pairs.extend_pairs(cursor.map(|cursor| ("_cursor", cursor)));
        let pairs = pairs.finish();
        if pairs.is_empty() { self.path.clone() } else { format!("{}?{pairs}", self.path) }
    }
}

fn write_entries(context: &Context, writer: &mut BundleWriter, page: &Page, subset: Option<&Subset>) -> Result<()> {
    let matches = page.matches.iter().map(|version| (version, SearchMode::Match));
    let included = page.included.iter().map(|version| (version, SearchMode::Include));
    for (version, mode) in matches.chain(included) {
        let mut body = body_of(version)?;
        if let Some(subset) = subset {
            body = subset.apply_to_bytes(&body)?;
        }
        write_entry(context, writer, version, &body, mode);
    }
    Ok(())
}

fn write_entry(context: &Context, writer: &mut BundleWriter, version: &Version, body: &[u8], mode: SearchMode) {
    let full_url = context.url(&version.type_name, &version.id, None);
    let (full_url, resource) = (Some(full_url.as_str()), Some(body));
    writer.entry(&Entry { full_url, resource, search: Some(mode), ..Entry::default() });
}

/// What the client should know beside the matches, as an entry of mode `outcome`.
fn write_warnings(writer: &mut BundleWriter, query: &Query, page: &Page) {
    let dropped = query.dropped.iter().map(|name| {
        let text = format!("The search parameter {} is not known and was left out.", name.escape_default());
        Issue::warning("not-supported", text)
    });
    let mut issues: Vec<Issue> = dropped.collect();
    if page.is_cut {
        let text = "More resources would be included than limits.include_max allows; the rest is left out.";
        issues.push(Issue::warning("incomplete", text));
    }
    if !issues.is_empty() {
        let outcome = write::to_vec(&outcome::outcome(&issues));
        let (resource, search) = (Some(outcome.as_slice()), Some(SearchMode::Outcome));
        writer.entry(&Entry { resource, search, ..Entry::default() });
    }
}
