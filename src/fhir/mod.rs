//! FHIR itself: the resource tree, its parser and writer, primitives, definitions.

pub mod definitions;
pub mod narrative;
pub mod parse;
pub mod tree;
pub mod write;
