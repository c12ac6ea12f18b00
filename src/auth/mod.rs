//! Who may do what: decides each request once and hands out a [`grant::Grant`].

pub mod access;
pub mod assertion;
pub mod bearer;
pub mod client;
pub mod compartment;
pub mod error;
pub mod fetch;
#[cfg(test)]
pub(crate) mod fixture;
pub mod grant;
pub mod jwks;
pub mod jwt;
pub mod keeper;
pub mod keys;
mod lockout;
#[cfg(test)]
pub(crate) mod memory;
pub mod password;
pub mod records;
pub mod registration;
pub mod role;
pub mod scope;
pub mod secret;
pub mod server;
pub mod session;
pub mod set_up;
pub mod sign_in;
#[cfg(test)]
mod sign_in_tests;
pub mod totp;
pub mod user;
#[cfg(test)]
mod user_tests;
