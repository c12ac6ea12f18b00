//! Conditions on other resources: what a match refers to, what refers to it. Both are asked from the server, the one by
//! reading it, the other by its reference, and then judged as JSON.

use super::criterion::{Condition, any};
use super::value::reference;
use super::world::{self, Sample, World};
use crate::client::Client;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;

/// Pages of what refers to a resource that are looked at.
const PAGES: usize = 10;

/// What was read so far.
pub struct Linked<'w> {
    world: &'w World,
    read: HashMap<String, Option<Rc<Sample>>>,
}

type Answer<'f> = Pin<Box<dyn Future<Output = Result<Option<bool>, String>> + 'f>>;

impl<'w> Linked<'w> {
    pub fn new(world: &'w World) -> Self {
        Self { world, read: HashMap::new() }
    }

    /// The resource at an address, if there is one.
    pub async fn at(&mut self, client: &mut Client, address: &str) -> Result<Option<Rc<Sample>>, String> {
        if let Some(known) = self.world.at(address) {
            return Ok(Some(Rc::clone(known)));
        }
        if let Some(known) = self.read.get(address) {
            return Ok(known.clone());
        }
        let found = world::read(client, address).await.map_err(|error| error.to_string())?.map(Rc::new);
        self.read.insert(address.to_owned(), found.clone());
        Ok(found)
    }

    /// Whether a resource meets a condition; `None` where that can't be told.
    pub fn holds<'f>(&'f mut self, client: &'f mut Client, condition: &'f Condition, one: &'f Sample) -> Answer<'f> {
        Box::pin(async move {
            match condition {
                Condition::Own(criterion) => Ok(criterion.holds(&one.resource)),
                Condition::Chain { through, target, inner } => {
                    let mut answers = vec![Some(false)];
                    for address in through.elements(&one.resource).into_iter().filter_map(reference) {
                        if address.split('/').next() == Some(target)
                            && let Some(other) = self.at(client, address).await?
                        {
                            answers.push(self.holds(client, inner, &other).await?);
                        }
                    }
                    Ok(any(answers.into_iter()))
                }
                Condition::Has { source, through, inner } => {
                    let mut path = Some(format!("{source}?{}={}&_count=200", through.code, one.address));
                    for _ in 0..PAGES {
                        let Some(at) = path else { return Ok(Some(false)) };
                        let bundle = world::get(client, &at).await.map_err(|error| error.to_string())?;
                        for other in world::matches(&bundle) {
                            if self.holds(client, inner, &other).await? != Some(false) {
                                return Ok(Some(true));
                            }
                        }
                        path = world::next(&bundle, source);
                    }
                    Ok(None)
                }
            }
        })
    }
}
