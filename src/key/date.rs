//! shim
use crate::clock::Micros;
pub fn bounds(_t: &str) -> Option<(Micros, Micros)> { None }
