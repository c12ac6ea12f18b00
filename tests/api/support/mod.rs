//! What the tests speak with: a request builder, and an answer that can be asked.
//!
//! ```text
//! let server = Server::start();
//! server.put("/Patient/eve").json(json!({"resourceType": "Patient", "id": "eve"})).expect(201);
//! server.get("/Patient/ada").expect(404).issue("not-found");
//! ```

#![allow(dead_code, unused_imports, reason = "one set of words for all tests, whichever of them are used today")]

mod answer;
pub mod browser;
mod client;
mod export;
pub mod mongodb;
mod process;
pub mod server;
pub mod smart;
pub mod source;
pub mod tokens;
pub mod tree;

pub use answer::Answer;
pub use client::{Client, Request};
pub use export::{Exported, job_path};
pub use process::{Process, free_address};
pub use server::Server;
pub use source::Source;
pub use tokens::Person;
