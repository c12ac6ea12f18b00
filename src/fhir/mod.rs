//! FHIR itself: the resource tree, its parser and writer, primitives, definitions.

pub mod definitions;
pub mod parse;
mod scan;
pub mod tree;
pub mod write;
