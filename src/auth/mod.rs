//! Who may do what: decides each request once and hands out a [`grant::Grant`].

pub mod grant;
pub mod keeper;
#[cfg(test)]
pub(crate) mod memory;
