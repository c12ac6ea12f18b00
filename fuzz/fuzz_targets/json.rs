//! The JSON parser: never panics, writes what it read, and takes the same texts as `serde_json` does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pharos::fhir::{parse, write};

const DEPTH: usize = 100;

/// What only our parser refuses.
const STRICTER: [&str; 3] = ["duplicate member", "nested too deeply", "too many members in one object"];

fuzz_target!(|bytes: &[u8]| {
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
    match parse::parse(bytes, DEPTH) {
        Ok(tree) => {
            for text in [write::to_vec(&tree), write::to_vec_pretty(&tree)] {
                assert_eq!(parse::parse(&text, DEPTH).as_ref(), Ok(&tree));
            }
            assert!(theirs.is_ok_and(|theirs| same(&tree, theirs)) || only_ours(bytes));
        }
        Err(error) => assert!(theirs.is_err() || STRICTER.contains(&error.reason), "{error}"),
    }
});

/// Whether `serde_json` reads the same from what the writer makes of the tree.
fn same(tree: &pharos::fhir::tree::Value<'_>, theirs: serde_json::Value) -> bool {
    serde_json::from_slice::<serde_json::Value>(&write::to_vec(tree)).is_ok_and(|written| written == theirs)
}

/// What only our parser takes: a byte order mark, and numbers that no `f64` holds.
fn only_ours(bytes: &[u8]) -> bool {
    let refusal = serde_json::from_slice::<serde_json::Value>(bytes).err().map(|error| error.to_string());
    bytes.starts_with(b"\xef\xbb\xbf") || refusal.is_some_and(|text| text.starts_with("number out of range"))
}
