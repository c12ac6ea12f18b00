//! `pharos demo`: a server with a sample population, and requests worth trying on it.

pub mod population;
pub mod requests;
