//! Strings: <http://hl7.org/fhirpath/N1/#string-manipulation>; `trim split join matchesFull lastIndexOf` are of later versions.

use super::{Call, Function, function, pattern};
use crate::fhirpath::error::EvalError;
use crate::fhirpath::eval::{Evaluated, Evaluator};
use crate::fhirpath::item::Item;
use crate::fhirpath::navigate;
use crate::fhirpath::parser::regex;
use regex::Regex;
use std::borrow::Cow;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function("indexOf", 1, 1, index_of),
    function("lastIndexOf", 1, 1, last_index_of),
    function("substring", 1, 2, substring),
    function("startsWith", 1, 1, starts_with),
    function("endsWith", 1, 1, ends_with),
    function("contains", 1, 1, contains),
    function("upper", 0, 0, upper),
    function("lower", 0, 0, lower),
    function("replace", 2, 2, replace),
    function("matches", 1, 1, matches),
    function("matchesFull", 1, 1, matches),
    function("replaceMatches", 2, 2, replace_matches),
    function("length", 0, 0, length),
    function("toChars", 0, 0, to_chars),
    function("trim", 0, 0, trim),
    function("split", 1, 1, split),
    function("join", 0, 1, join),
];

/// How many bytes of a text that a regular expression reads count for a step.
const PATTERN_STEP_BYTES: usize = 8;

/// The focus and the first argument, where both are there.
fn with_argument<'t>(e: &Evaluator<'_, 't>, call: &Call<'_, 't>) -> Result<Option<[Cow<'t, str>; 2]>, EvalError> {
    Ok(call.text()?.zip(call.string(e, 0)?).map(<[_; 2]>::from))
}

fn test<'t>(e: &Evaluator<'_, 't>, call: &Call<'_, 't>, holds: impl Fn(&str, &str) -> bool) -> Evaluated<'t> {
    let both = with_argument(e, call)?;
    Ok(both.map(|[text, argument]| Item::Boolean(holds(&text, &argument))).into_iter().collect())
}

fn starts_with<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    test(e, &call, |text, start| text.starts_with(start))
}

fn ends_with<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    test(e, &call, |text, end| text.ends_with(end))
}

fn contains<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    test(e, &call, |text, part| text.contains(part))
}

/// The characters before a byte position, or -1 for none.
fn position(call: &Call, text: &str, found: Option<usize>) -> Result<i32, EvalError> {
    let Some(before) = found.and_then(|found| text.get(..found)) else { return Ok(-1) };
    i32::try_from(before.chars().count()).map_err(|_| call.error("the text is too long"))
}

fn index_of<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let Some([text, part]) = with_argument(e, &call)? else { return Ok(Vec::new()) };
    Ok(vec![Item::Integer(position(&call, &text, text.find(&*part))?)])
}

fn last_index_of<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let Some([text, part]) = with_argument(e, &call)? else { return Ok(Vec::new()) };
    Ok(vec![Item::Integer(position(&call, &text, text.rfind(&*part))?)])
}

fn substring<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let (Some(text), Some(start)) = (call.text()?, call.integer(e, 0)?) else { return Ok(Vec::new()) };
    let Ok(start) = usize::try_from(start) else { return Ok(Vec::new()) };
    let length = if call.args.len() > 1 { call.integer(e, 1)? } else { None };
    let length = length.map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(0));
    let mut rest = text.chars().skip(start).peekable();
    if rest.peek().is_none() {
        return Ok(Vec::new());
    }
    call.made(e, rest.take(length).collect())
}

fn upper<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    call.text()?.map_or_else(|| Ok(Vec::new()), |text| call.made(e, text.to_uppercase()))
}

fn lower<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    call.text()?.map_or_else(|| Ok(Vec::new()), |text| call.made(e, text.to_lowercase()))
}

fn trim<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    call.text()?.map_or_else(|| Ok(Vec::new()), |text| call.made(e, text.trim().to_owned()))
}

fn length<'t>(_: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let Some(text) = call.text()? else { return Ok(Vec::new()) };
    Ok(vec![Item::Integer(position(&call, &text, Some(text.len()))?)])
}

fn to_chars<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let Some(text) = call.text()? else { return Ok(Vec::new()) };
    e.step(text.len(), call.at)?;
    Ok(text.chars().map(|c| Item::String(Cow::Owned(c.to_string()))).collect())
}

fn split<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let Some([text, separator]) = with_argument(e, &call)? else { return Ok(Vec::new()) };
    e.step(text.len(), call.at)?;
    Ok(text.split(&*separator).map(|part| Item::String(Cow::Owned(part.to_owned()))).collect())
}

fn join<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let separator = if call.args.is_empty() { None } else { call.string(e, 0)? }.unwrap_or_default();
    if call.focus.is_empty() {
        return Ok(Vec::new());
    }
    let mut joined = String::new();
    for (index, item) in call.focus.iter().enumerate() {
        let Some(Item::String(text)) = navigate::value(item.clone()) else {
            return Err(call.error("`join` needs strings"));
        };
        if index > 0 {
            joined.push_str(&separator);
        }
        joined.push_str(&text);
        call.check_length(joined.len())?;
    }
    call.made(e, joined)
}

fn replace<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let (Some([text, part]), Some(by)) = (with_argument(e, &call)?, call.string(e, 1)?) else { return Ok(Vec::new()) };
    call.check_length(text.len() + text.matches(&*part).count() * by.len())?;
    call.made(e, text.replace(&*part, &by))
}

/// The regular expression of the first argument: compiled already, or now.
fn expression<'t>(e: &Evaluator<'_, 't>, call: &Call<'_, 't>) -> Result<Option<Cow<'t, Regex>>, EvalError> {
    if let Some(regex) = call.regex {
        return Ok(Some(Cow::Borrowed(regex)));
    }
    let Some(argument) = call.string(e, 0)? else { return Ok(None) };
    e.step(1000 + argument.len(), call.at)?;
    let pattern = pattern(call.name, &argument).unwrap_or_default();
    regex(&pattern)
        .map(|regex| Some(Cow::Owned(regex)))
        .ok_or_else(|| call.error("not a regular expression, or too large"))
}

fn matches<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let (Some(text), Some(regex)) = (call.text()?, expression(e, &call)?) else { return Ok(Vec::new()) };
    e.step(text.len() / PATTERN_STEP_BYTES, call.at)?;
    Ok(vec![Item::Boolean(regex.is_match(&text))])
}

fn replace_matches<'t>(e: &Evaluator<'_, 't>, call: Call<'_, 't>) -> Evaluated<'t> {
    let (Some(text), Some(regex)) = (call.text()?, expression(e, &call)?) else { return Ok(Vec::new()) };
    let Some(by) = call.string(e, 1)? else { return Ok(Vec::new()) };
    if regex.as_str().is_empty() {
        return Ok(vec![Item::String(text)]);
    }
    e.step(text.len() / PATTERN_STEP_BYTES, call.at)?;
    let by = substitution(&by);
    let (mut replaced, mut end) = (String::new(), 0);
    for found in regex.captures_iter(&text) {
        let Some(whole) = found.get(0) else { continue };
        replaced.push_str(text.get(end..whole.start()).unwrap_or_default());
        found.expand(&by, &mut replaced);
        end = whole.end();
        e.step(1, call.at)?;
        call.check_length(replaced.len())?;
    }
    replaced.push_str(text.get(end..).unwrap_or_default());
    call.made(e, replaced)
}

/// `$1a` means the first group followed by an `a`, which the crate wants as `${1}a`.
fn substitution(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        let digits = after.get(1..).unwrap_or_default().bytes().take_while(u8::is_ascii_digit).count();
        out.push_str(before);
        if digits > 0 {
            out.push_str("${");
            out.push_str(after.get(1..=digits).unwrap_or_default());
            out.push('}');
        } else {
            out.push('$');
        }
        rest = after.get(1 + digits..).unwrap_or_default();
    }
    out + rest
}
