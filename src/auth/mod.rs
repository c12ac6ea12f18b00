//! Who may do what: decides each request once and hands out a [`grant::Grant`].

pub mod authorization;
pub mod error;
pub mod form;
#[cfg(test)]
pub(crate) mod fixture;
pub mod grant;
pub mod jwt;
pub mod keeper;
pub mod keys;
#[cfg(test)]
pub(crate) mod memory;
pub mod records;
pub mod refresh;
pub mod scope;
pub mod secret;
pub mod server;
