//! `read`: known resources by id, at random. `read-mix`: the mix of reads, searches and histories of public benchmarks.

use crate::check;
use crate::client::{Answer, Client};
use crate::drive::{Dice, Worker};
use crate::import::Known;
use hyper::Method;
use std::rc::Rc;

/// Reads known resources; each answer must be the known bytes.
pub struct Reader {
    pub known: Rc<Vec<Known>>,
    pub dice: Dice,
}

impl Worker for Reader {
    async fn turn(&mut self, client: &mut Client) -> bool {
        let Some(known) = self.dice.pick(&self.known) else { return false };
        read(client, known).await;
        true
    }
}

async fn read(client: &mut Client, known: &Known) {
    let check = |answer: &Answer| {
        check::status(answer, &[200])?;
        if answer.etag() != Some(&known.etag) {
            return Err("ETag of another version".to_owned());
        }
        if answer.body == known.body { Ok(()) } else { Err("another body than before".to_owned()) }
    };
    client.ask("read", Method::GET, &known.address, None, check).await;
}

/// 45 % read, 20 % a page of patients, 20 % a patient's observations, 10 % a patient's conditions, 5 % history.
pub struct Mixer {
    pub known: Rc<Vec<Known>>,
    /// `Patient/id` of the known patients.
    pub patients: Rc<Vec<String>>,
    pub dice: Dice,
}

impl Worker for Mixer {
    async fn turn(&mut self, client: &mut Client) -> bool {
        let (Some(known), Some(patient)) = (self.dice.pick(&self.known), self.dice.pick(&self.patients)) else {
            return false;
        };
        match self.dice.below(100) {
            0..45 => read(client, known).await,
            45..65 => bundle(client, "patients", "Patient?_count=20", "searchset").await,
            65..85 => bundle(client, "observations", &format!("Observation?patient={patient}"), "searchset").await,
            85..95 => bundle(client, "conditions", &format!("Condition?patient={patient}"), "searchset").await,
            _ => bundle(client, "history", &format!("{}/_history", known.address), "history").await,
        }
        true
    }
}

/// Asks for a Bundle. The whole body is not parsed, so that the client stays light: its head must name the type.
async fn bundle(client: &mut Client, operation: &'static str, path: &str, bundle_type: &str) {
    let check = |answer: &Answer| {
        check::status(answer, &[200])?;
        let text = String::from_utf8_lossy(&answer.body);
        let typed =
            ["\"type\":\"", "\"type\": \""].iter().any(|start| text.contains(&format!("{start}{bundle_type}\"")));
        if typed { Ok(()) } else { Err("no such Bundle".to_owned()) }
    };
    client.ask(operation, Method::GET, path, None, check).await;
}
