//! The writer: a tree back into JSON, minified or for the eye.

use super::scan;
use super::tree::{Object, Value};

/// Minified JSON. Numbers are written as they were sent; strings with the fewest escapes JSON allows.
#[must_use]
pub fn to_vec(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write(value, &mut out);
    out
}

/// JSON with two blanks of indentation (`_pretty`).
#[must_use]
pub fn to_vec_pretty(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    write_pretty(value, 0, &mut out);
    out.push(b'\n');
    out
}

/// Appends a value, minified.
pub fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(text) => out.extend_from_slice(text.as_bytes()),
        Value::String(text) => write_str(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => write_object(object, out),
    }
}

/// Appends an object, minified.
pub fn write_object(object: &Object<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (n, (name, member)) in object.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_str(name, out);
        out.push(b':');
        write(member, out);
    }
    out.push(b'}');
}

fn write_pretty(value: &Value<'_>, indent: usize, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                new_line(n, indent + 1, out);
                write_pretty(item, indent + 1, out);
            }
            close(b']', indent, out);
        }
        Value::Object(object) if !object.is_empty() => {
            out.push(b'{');
            for (n, (name, member)) in object.iter().enumerate() {
                new_line(n, indent + 1, out);
                write_str(name, out);
                out.extend_from_slice(b": ");
                write_pretty(member, indent + 1, out);
            }
            close(b'}', indent, out);
        }
        plain => write(plain, out),
    }
}

fn new_line(item: usize, indent: usize, out: &mut Vec<u8>) {
    if item > 0 {
        out.push(b',');
    }
    out.push(b'\n');
    out.resize(out.len() + indent * 2, b' ');
}

fn close(bracket: u8, indent: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.resize(out.len() + indent * 2, b' ');
    out.push(bracket);
}

/// Appends a string in quotes with the escapes that JSON requires and no others.
pub fn write_str(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, tail) = rest.split_at(scan::plain_len(rest));
        out.extend_from_slice(plain);
        let Some((&byte, tail)) = tail.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend(HEX.get(usize::from(byte >> 4)));
                out.extend(HEX.get(usize::from(byte & 15)));
            }
        }
        rest = tail;
    }
    out.push(b'"');
}
