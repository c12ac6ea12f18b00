//! search: <https://hl7.org/fhir/R4/http.html#search>, <https://hl7.org/fhir/R4/search.html>, in compartments too.
//!
//! The engine is [`crate::search`]; here its pages become Bundles.

use super::call::Call;
use super::searchset::{self, Links, Searchset, Warnings};
use super::{Answer, Context, Request, reach};
use crate::auth::compartment;
use crate::error::{Error, Result};
use crate::key::Expr;
use crate::search::{self, Cursor, Query, Registry};

/// A page of what matches, with what `_include` and `_revinclude` add.
///
/// # Errors
/// 400 for a parameter that is unknown (unless handling is lenient), malformed or not supported.
pub fn search(context: &Context, request: &Request<'_>) -> Result<Answer> {
    let registry = context.conformance.registry();
    let (path, query) = read(context, request, &registry)?;
    let subset = searchset::subset(&request.query, &query)?;
    let binding = format!("{} {path}", context.grant.tenant().0);
    let searchset = Searchset { context, path: &path, binding: &binding, pairs: search::self_pairs(&query) };
    let given = request.parameter("_cursor");
    let cursor = given.map(|text| Cursor::from_bytes(&searchset.open(text)?, &query)).transpose()?;
    reach::cover_query(context, request, &query)?;
    let records = context.open()?;
    let page = search::run(&records, &query, cursor.as_ref(), &context.search_budget())?;
    let unfinished = context.unfinished(records.view(), &registry)?;
    let warnings = Warnings { dropped: &query.dropped, unfinished: &unfinished };
    let [next, prev] = [&page.next, &page.prev].map(|cursor| cursor.as_ref().map(|cursor| cursor.to_bytes(&query)));
    let links = Links { given, next: next.as_deref(), prev: prev.as_deref() };
    searchset.answer(&page, links, subset.as_ref(), &warnings)
}

/// The path of a search, relative to the base, and its query.
fn read(context: &Context, request: &Request<'_>, registry: &Registry) -> Result<(String, Query)> {
    let pairs: Vec<_> = request.query.iter().filter(|(name, _)| name != "_cursor").cloned().collect();
    let options = context.search_options(request.handling);
    let parse = |type_name| search::parse(registry, type_name, &pairs, &options);
    match &request.call {
        Call::Search { type_name } => Ok((type_name.clone().unwrap_or_default(), parse(type_name.as_deref())?)),
        Call::CompartmentSearch { compartment, id, type_name } => {
            let mut query = parse(type_name.as_deref())?;
            query.targets = std::mem::take(&mut query.targets)
                .into_iter()
                .filter_map(|mut target| {
                    let inside = compartment::compartment(compartment, id, &target.type_name)?;
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
