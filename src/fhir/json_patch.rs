//! JSON Patch: <https://www.rfc-editor.org/rfc/rfc6902>, with JSON Pointers of <https://www.rfc-editor.org/rfc/rfc6901>.
//!
//! Written over our own tree: the crate for it works on `serde_json::Value`, which loses the text of decimals and the order of members.

use super::tree::{Object, Value};
use std::borrow::Cow;

/// How deep a patched tree may be.
pub const DEPTH_LIMIT: usize = 128;
/// How many values all `copy` operations of a patch may make together.
pub const COPY_LIMIT: usize = 1_000_000;

/// Why a patch was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operation {operation}: {reason}")]
pub struct PatchError {
    /// The position of the operation in the patch, counted from 0.
    pub operation: usize,
    /// What kind of failure it is.
    pub kind: PatchFailure,
    /// What is wrong. Names elements, never values.
    pub reason: Cow<'static, str>,
}

/// The kinds of a [`PatchError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchFailure {
    /// The patch itself is not well-formed (HTTP 400).
    Malformed,
    /// The patch can't be applied to this document: a path leads nowhere, or a `test` does not hold (HTTP 422).
    Unprocessable,
}

/// What one operation fails with.
struct Failure(PatchFailure, Cow<'static, str>);

type Applied<T = ()> = Result<T, Failure>;

fn malformed<T>(reason: &'static str) -> Applied<T> {
    Err(Failure(PatchFailure::Malformed, Cow::Borrowed(reason)))
}

fn unprocessable<T>(reason: &'static str) -> Applied<T> {
    Err(Failure(PatchFailure::Unprocessable, Cow::Borrowed(reason)))
}

/// Applies all operations of a patch, in order.
///
/// # Errors
/// Where the patch is malformed, or one of its operations fails; nothing of it is applied then.
pub fn apply<'a>(document: Value<'a>, patch: &Value<'a>) -> Result<Value<'a>, PatchError> {
    let Value::Array(operations) = patch else {
        let reason = Cow::Borrowed("a JSON Patch is an array of operations");
        return Err(PatchError { operation: 0, kind: PatchFailure::Malformed, reason });
    };
    let mut patcher = Patcher { document, copied: 0 };
    for (position, operation) in operations.iter().enumerate() {
        patcher.apply(operation).map_err(|Failure(kind, reason)| PatchError { operation: position, kind, reason })?;
    }
    Ok(patcher.document)
}

struct Patcher<'a> {
    document: Value<'a>,
    copied: usize,
}

impl<'a> Patcher<'a> {
    fn apply(&mut self, operation: &Value<'a>) -> Applied {
        let Value::Object(operation) = operation else { return malformed("an operation is an object") };
        let Some(op) = operation.str("op") else { return malformed("`op` is missing") };
        let path = pointer(operation, "path")?;
        match op {
            "add" => self.add(&path, given(operation)?.clone()),
            "remove" => self.remove(&path).map(drop),
            "replace" => self.replace(&path, given(operation)?.clone()),
            "move" => {
                let from = pointer(operation, "from")?;
                if path.len() > from.len() && path.starts_with(&from) {
                    return unprocessable("a value can't be moved into itself");
                }
                let value = self.remove(&from)?;
                self.add(&path, value)
            }
            "copy" => {
                let value = find(&self.document, &pointer(operation, "from")?)?;
                self.copied += count(value);
                if self.copied > COPY_LIMIT {
                    return unprocessable("the patch copies too much");
                }
                let value = value.clone();
                self.add(&path, value)
            }
            "test" => {
                if is_same(find(&self.document, &path)?, given(operation)?) {
                    Ok(())
                } else {
                    unprocessable("the value is not the one tested for")
                }
            }
            _ => malformed("`op` is none of add, remove, replace, move, copy and test"),
        }
    }

    fn add(&mut self, path: &[Cow<'_, str>], value: Value<'a>) -> Applied {
        if path.len() + depth(&value) > DEPTH_LIMIT {
            return unprocessable("the patched resource is nested too deeply");
        }
        let Some((last, parents)) = path.split_last() else {
            self.document = value;
            return Ok(());
        };
        match find_mut(&mut self.document, parents)? {
            Value::Object(object) => object.set(last.to_string(), value),
            Value::Array(items) if last == "-" => items.push(value),
            Value::Array(items) => {
                let position = index(last)?;
                if position > items.len() {
                    return unprocessable("`path` is beyond the end of an array");
                }
                items.insert(position, value);
            }
            _ => return unprocessable("`path` leads nowhere"),
        }
        Ok(())
    }

    fn remove(&mut self, path: &[Cow<'_, str>]) -> Applied<Value<'a>> {
        let Some((last, parents)) = path.split_last() else { return unprocessable("the whole can't be removed") };
        let removed = match find_mut(&mut self.document, parents)? {
            Value::Object(object) => object.remove(last),
            Value::Array(items) => {
                let position = index(last)?;
                (position < items.len()).then(|| items.remove(position))
            }
            _ => None,
        };
        removed.map_or_else(|| unprocessable("there is nothing to remove"), Ok)
    }

    fn replace(&mut self, path: &[Cow<'_, str>], value: Value<'a>) -> Applied {
        if path.len() + depth(&value) > DEPTH_LIMIT {
            return unprocessable("the patched resource is nested too deeply");
        }
        *find_mut(&mut self.document, path)? = value;
        Ok(())
    }
}

/// The member `value`, which may be null.
fn given<'v, 'a>(operation: &'v Object<'a>) -> Applied<&'v Value<'a>> {
    operation.get("value").map_or_else(|| malformed("`value` is missing"), Ok)
}

/// The reference tokens of a JSON Pointer.
fn pointer<'o>(operation: &'o Object<'_>, member: &'static str) -> Applied<Vec<Cow<'o, str>>> {
    let Some(text) = operation.str(member) else { return malformed("`path` or `from` is missing") };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Some(tokens) = text.strip_prefix('/') else { return malformed("a JSON Pointer begins with `/`") };
    tokens.split('/').map(unescape).collect()
}

/// `~1` is `/` and `~0` is `~`; any other `~` is an error.
fn unescape(token: &str) -> Applied<Cow<'_, str>> {
    if !token.contains('~') {
        return Ok(Cow::Borrowed(token));
    }
    let is_escaped = |part: &str| part.starts_with(['0', '1']);
    if !token.split('~').skip(1).all(is_escaped) {
        return malformed("a JSON Pointer has a `~` that is no escape");
    }
    Ok(Cow::Owned(token.replace("~1", "/").replace("~0", "~")))
}

/// An array index: digits without leading zeros.
fn index(token: &str) -> Applied<usize> {
    let is_index = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    match token.parse() {
        Ok(index) if is_index => Ok(index),
        _ => unprocessable("a step into an array is not an index of it"),
    }
}

fn find<'v, 'a>(document: &'v Value<'a>, path: &[Cow<'_, str>]) -> Applied<&'v Value<'a>> {
    let mut value = document;
    for token in path {
        let next = match value {
            Value::Object(object) => object.get(token),
            Value::Array(items) => items.get(index(token)?),
            _ => None,
        };
        let Some(next) = next else { return unprocessable("`path` or `from` leads nowhere") };
        value = next;
    }
    Ok(value)
}

fn find_mut<'v, 'a>(document: &'v mut Value<'a>, path: &[Cow<'_, str>]) -> Applied<&'v mut Value<'a>> {
    let mut value = document;
    for token in path {
        let next = match value {
            Value::Object(object) => object.get_mut(token),
            Value::Array(items) => items.get_mut(index(token)?),
            _ => None,
        };
        let Some(next) = next else { return unprocessable("`path` leads nowhere") };
        value = next;
    }
    Ok(value)
}

/// Equality as RFC 6902 §4.6 has it: numbers by value, members in any order.
fn is_same(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| is_same(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (Value::Number(a), Value::Number(b)) => a == b || plain(a) == plain(b),
        (a, b) => a == b,
    }
}

/// A number as sign, digits without zeros around them, and exponent: the same for the same value, however it is written.
fn plain(text: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_negative = whole.starts_with('-');
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let kept = digits.trim_end_matches('0');
    let zeros = digits.len() - kept.len();
    let shift = i64::try_from(zeros).unwrap_or(0) - i64::try_from(fraction.len()).unwrap_or(0);
    let digits = kept.trim_start_matches('0').to_owned();
    if digits.is_empty() {
        return (false, digits, 0);
    }
    (is_negative, digits, exponent.parse::<i64>().unwrap_or(i64::MAX).saturating_add(shift))
}

fn count(value: &Value<'_>) -> usize {
    1 + match value {
        Value::Object(object) => object.iter().map(|(_, value)| count(value)).sum(),
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0,
    }
}

fn depth(value: &Value<'_>) -> usize {
    match value {
        Value::Object(object) => 1 + object.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::parse::parse;
    use crate::fhir::write;

    fn patched(document: &str, patch: &str) -> Result<String, PatchError> {
        let parsed = |text: &str| parse(text.as_bytes(), 256).unwrap().into_owned();
        apply(parsed(document), &parsed(patch)).map(|value| String::from_utf8(write::to_vec(&value)).unwrap())
    }

    #[test]
    fn each_operation_does_what_the_rfc_says() {
        let cases = [
            (r#"{"a":1.00}"#, r#"[{"op":"add","path":"/b","value":2.50}]"#, r#"{"a":1.00,"b":2.50}"#),
            (r#"{"a":1,"b":2}"#, r#"[{"op":"add","path":"/a","value":null}]"#, r#"{"a":null,"b":2}"#),
            (r#"{"a":[1,3]}"#, r#"[{"op":"add","path":"/a/1","value":2}]"#, r#"{"a":[1,2,3]}"#),
            (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/1","value":2}]"#, r#"{"a":[1,2]}"#),
            (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/-","value":[2]}]"#, r#"{"a":[1,[2]]}"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"","value":{"b":2}}]"#, r#"{"b":2}"#),
            (r#"{"a":{"b":1,"c":2}}"#, r#"[{"op":"remove","path":"/a/b"}]"#, r#"{"a":{"c":2}}"#),
            (r#"{"a":[1,2,3]}"#, r#"[{"op":"remove","path":"/a/1"}]"#, r#"{"a":[1,3]}"#),
            (r#"{"a":1,"b":2}"#, r#"[{"op":"replace","path":"/a","value":3}]"#, r#"{"a":3,"b":2}"#),
            (r#"{"a":{"b":1},"c":{}}"#, r#"[{"op":"move","from":"/a/b","path":"/c/d"}]"#, r#"{"a":{},"c":{"d":1}}"#),
            (r#"{"a":[1,2,3]}"#, r#"[{"op":"move","from":"/a/0","path":"/a/2"}]"#, r#"{"a":[2,3,1]}"#),
            (r#"{"a":{"b":[1]}}"#, r#"[{"op":"copy","from":"/a/b","path":"/c"}]"#, r#"{"a":{"b":[1]},"c":[1]}"#),
            (r#"{"/":1,"~1":2}"#, r#"[{"op":"remove","path":"/~1"},{"op":"remove","path":"/~01"}]"#, "{}"),
            (r#"{"a":{"x":1,"y":[10]}}"#, r#"[{"op":"test","path":"/a","value":{"y":[1e1],"x":1.0}}]"#, ""),
            (r#"{"a":-0.0}"#, r#"[{"op":"test","path":"/a","value":0}]"#, ""),
        ];
        for (document, patch, expected) in cases {
            let expected = if expected.is_empty() { document } else { expected };
            assert_eq!(patched(document, patch).unwrap(), expected, "{patch}");
        }
    }

    #[test]
    fn failures_name_the_operation_and_tell_malformed_from_unprocessable() {
        use PatchFailure::{Malformed, Unprocessable};
        let cases = [
            (r#"{"op":"test","path":"/a","value":2}"#, Unprocessable),
            (r#"{"op":"test","path":"/a","value":"1"}"#, Unprocessable),
            (r#"{"op":"remove","path":"/x"}"#, Unprocessable),
            (r#"{"op":"remove","path":""}"#, Unprocessable),
            (r#"{"op":"replace","path":"/x","value":1}"#, Unprocessable),
            (r#"{"op":"add","path":"/x/y","value":1}"#, Unprocessable),
            (r#"{"op":"add","path":"/l/3","value":1}"#, Unprocessable),
            (r#"{"op":"add","path":"/l/01","value":1}"#, Unprocessable),
            (r#"{"op":"move","from":"/o","path":"/o/p"}"#, Unprocessable),
            (r#"{"op":"copy","from":"/x","path":"/y"}"#, Unprocessable),
            (r#"{"op":"add","path":"/b"}"#, Malformed),
            (r#"{"op":"add","path":"b","value":1}"#, Malformed),
            (r#"{"op":"add","path":"/~2","value":1}"#, Malformed),
            (r#"{"op":"move","path":"/b"}"#, Malformed),
            (r#"{"op":"make","path":"/b"}"#, Malformed),
            (r#"{"path":"/b"}"#, Malformed),
            ("3", Malformed),
        ];
        for (operation, kind) in cases {
            let patch = format!(r#"[{{"op":"test","path":"/a","value":1}},{operation}]"#);
            let error = patched(r#"{"a":1,"l":[1,2],"o":{}}"#, &patch).unwrap_err();
            assert_eq!((error.operation, error.kind), (1, kind), "{operation}: {error}");
        }
        assert_eq!(patched("{}", "{}").unwrap_err().kind, Malformed);
    }

    #[test]
    fn copies_are_bounded_in_size_and_depth() {
        let double = r#"{"op":"copy","from":"/a","path":"/a/-"}"#;
        let error = patched(r#"{"a":[[1,2,3]]}"#, &format!("[{}]", [double; 60].join(","))).unwrap_err();
        assert_eq!(error.kind, PatchFailure::Unprocessable);
        let into_itself = r#"{"op":"copy","from":"/a","path":"/a/a"}"#;
        let error = patched(r#"{"a":{}}"#, &format!("[{}]", [into_itself; 200].join(","))).unwrap_err();
        assert_eq!(error.kind, PatchFailure::Unprocessable);
    }
}
