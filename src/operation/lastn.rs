//! `$lastn`: <https://hl7.org/fhir/R4/observation-operation-lastn.html>.

use super::parameters;
use crate::error::{Error, Result};
use crate::interaction::searchset::{self, Links, Searchset, Warnings};
use crate::interaction::{Answer, Context, Request};
use crate::search::{self, Grouping, LatestPlace};

/// Parameters whose expression has a code in it.
const CODES: [&str; 4] = ["category", "code", "combo-code", "component-code"];

/// The newest observations of each code: `max` of them, or one; newest first in each group.
///
/// # Errors
/// 400 without a subject, without a category or code, and as for a search.
pub fn lastn(context: &Context, mut request: Request<'_>) -> Result<Answer> {
    let mut pairs = parameters::pairs(&mut request)?;
    let max = max(context, &mut pairs)?;
    require(&pairs)?;
    let options = context.search_options(request.handling);
    let registry = context.conformance.registry();
    let query = search::parse(&registry, Some("Observation"), &pairs, &options)?;
    query.forbid_contained()?;
    if !query.sort.is_empty() {
        return Err(Error::invalid("$lastn has an order of its own: `_sort` is not supported with it.").at("_sort"));
    }
    let subset = searchset::subset(&pairs, &query)?;
    let mut used = search::self_pairs(&query).to_vec();
    used.push(("max".to_owned(), max.to_string()));
    let binding = format!("{} $lastn {used:?}", context.grant.tenant().0);
    let searchset = Searchset { context, path: "Observation/$lastn", binding: &binding, pairs: &used };
    let given = request.parameter("_cursor");
    let place = given.map(|cursor| LatestPlace::from_bytes(&searchset.open(cursor)?)).transpose()?;
    let grouping = Grouping { code: "code", dates: &["date"], max };
    let records = context.open()?;
    let (page, next) = search::latest(&records, &query, grouping, place.as_ref(), &context.search_budget())?;
    let next = next.as_ref().map(LatestPlace::to_bytes);
    let unfinished = context.unfinished(records.view(), &registry)?;
    searchset.answer(
        &page,
        Links { given, next: next.as_deref(), prev: None },
        subset.as_ref(),
        &Warnings { dropped: &query.dropped, unfinished: &unfinished },
    )
}

/// Takes `max` out of the parameters.
fn max(context: &Context, pairs: &mut Vec<(String, String)>) -> Result<usize> {
    let mut given = pairs.extract_if(.., |(name, _)| name == "max").map(|(_, value)| value);
    let (first, second) = (given.next(), given.next());
    let bad = || Error::invalid("max is given once, as a whole number above 0.").at("max");
    match (first, second) {
        (None, _) => Ok(1),
        (Some(text), None) => {
            let max = text.parse::<usize>().ok().filter(|max| *max > 0).ok_or_else(bad)?;
            Ok(max.min(context.limits.page_max))
        }
        (Some(_), Some(_)) => Err(bad()),
    }
}

/// What the definition says that a request must have.
fn require(pairs: &[(String, String)]) -> Result<()> {
    let base = |name: &str| name.split([':', '.']).next().unwrap_or_default().to_owned();
    let has = |wanted: &dyn Fn(&str) -> bool| pairs.iter().any(|(name, _)| wanted(&base(name)));
    if !has(&|name| matches!(name, "patient" | "subject")) {
        return Err(required("$lastn needs a subject: the parameter `patient` or `subject`."));
    }
    if !has(&|name| CODES.contains(&name) || name.starts_with("code-value-") || name.starts_with("combo-code-value-")) {
        return Err(required("$lastn needs the parameter `category`, or one with a code, such as `code`."));
    }
    Ok(())
}

fn required(text: &'static str) -> Error {
    Error::new(crate::error::Category::Invalid, "required", text)
}
