//! FHIR itself: the resource tree, its parser and writer, references, narrative, Bundles, patches, definitions.

pub mod binary;
pub mod bundle;
pub mod definitions;
#[cfg(test)]
pub mod examples;
pub mod json_patch;
pub mod meta;
mod narrative;
pub mod outcome;
pub mod parse;
pub mod place;
pub mod reference;
pub mod rewrite;
mod scan;
pub mod subset;
pub mod tree;
pub mod write;
pub mod xhtml;
