//! FHIRPath: compiling a text ends with an expression or an error, whatever the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pharos::fhirpath::Expression;

fuzz_target!(|text: &str| {
    // Either is fine; that it comes to an end without a panic is what is tested.
    let _compiled = Expression::compile(text);
});
