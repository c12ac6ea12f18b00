//! HTTP: what a request asks for and what an answer looks like.

pub mod condition;
pub mod negotiate;
pub mod prefer;
