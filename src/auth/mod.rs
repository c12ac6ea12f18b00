//! Who may do what: decides each request once and hands out a [`grant::Grant`].

pub mod access;
pub mod agent;
pub mod assertion;
pub mod authorization;
pub mod authorize;
pub mod bearer;
mod claims;
pub mod client;
pub mod clients;
pub mod compartment;
pub mod consent;
pub mod delegate;
pub mod discovery;
pub mod error;
pub mod fetch;
#[cfg(test)]
pub(crate) mod fixture;
pub mod form;
pub mod grant;
pub mod introspect;
pub mod jwks;
pub mod jwt;
pub mod keeper;
pub mod keys;
pub mod launch;
mod lockout;
#[cfg(test)]
pub(crate) mod memory;
pub mod origins;
pub mod password;
pub mod rate;
pub mod recipient;
pub mod records;
pub mod refresh;
pub mod registration;
pub mod remote;
pub mod revoke;
pub mod role;
pub mod scope;
pub mod secret;
pub mod server;
pub mod session;
pub mod set_up;
pub mod sign_in;
#[cfg(test)]
mod sign_in_tests;
pub mod slowing;
pub mod tenants;
pub mod token;
#[cfg(test)]
mod token_tests;
pub mod totp;
mod trusted;
pub mod upstream;
mod upstream_user;
pub mod user;
#[cfg(test)]
mod user_tests;
pub mod userinfo;
pub mod witness;
