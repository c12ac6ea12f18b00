//! FHIR itself: the resource tree, its parser and writer, primitives, definitions.

pub mod binary;
pub mod bundle;
pub mod definitions;
pub mod meta;
pub mod outcome;
pub mod parse;
pub mod reference;
mod scan;
pub mod tree;
pub mod write;
