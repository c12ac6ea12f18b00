//! Who may do what: decides each request once and hands out a [`grant::Grant`].

pub mod authorization;
pub mod discovery;
pub mod error;
#[cfg(test)]
pub(crate) mod fixture;
pub mod form;
pub mod grant;
pub mod introspect;
pub mod jwt;
pub mod keeper;
pub mod keys;
pub mod launch;
#[cfg(test)]
pub(crate) mod memory;
pub mod origins;
pub mod records;
pub mod refresh;
pub mod revoke;
pub mod scope;
pub mod secret;
pub mod server;
pub mod slowing;
pub mod token;
pub mod userinfo;
