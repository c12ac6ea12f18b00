//! What is on the server, as far as it is sampled: the types with their counts and parameters, resources of each from all
//! parts of the store, and what those refer to.

use super::parameter::Parameter;
use super::value::reference;
use crate::bundles::DEPTH;
use crate::check;
use crate::client::{Client, Failure};
use crate::drive::Dice;
use hyper::Method;
use pharos::fhir::definitions::{self, ParamType};
use pharos::fhir::parse::parse;
use pharos::fhir::tree::Value;
use std::collections::HashMap;
use std::rc::Rc;

pub type Tree = Value<'static>;

/// Resources of each part of the store that are sampled.
const PER_PART: usize = 40;
/// Parts of the time over which the store was filled.
const PARTS: i64 = 5;
/// What each reference parameter's samples refer to is read for so many of them.
const TARGETS: usize = 20;

/// A resource of the server.
pub struct Sample {
    /// `Type/id`.
    pub address: String,
    pub resource: Tree,
}

/// A type of which the server has resources.
pub struct Kept {
    pub name: String,
    pub total: u64,
    pub samples: Vec<Rc<Sample>>,
    pub parameters: Vec<Rc<Parameter>>,
}

/// All of it.
pub struct World {
    pub types: Vec<Kept>,
    targets: HashMap<String, Rc<Sample>>,
}

/// A value to search for, and where it comes from.
pub struct Drawn<'w> {
    pub kept: &'w Kept,
    pub parameter: &'w Rc<Parameter>,
    pub sample: &'w Rc<Sample>,
    pub element: &'w Tree,
}

impl World {
    /// Asks the server for all that.
    pub async fn sample(client: &mut Client) -> Result<Self, Failure> {
        let statement = get(client, "metadata").await?;
        let resources = statement.get("rest").and_then(|rest| rest.items().first()?.get("resource"));
        let mut types = Vec::new();
        for stated in resources.map(Value::items).unwrap_or_default() {
            let Some(name) = stated.get("type").and_then(Value::as_str) else { continue };
            let total = count(client, &format!("{name}?_summary=count")).await?;
            if total > 0 {
                let samples = samples(client, name).await?;
                types.push(Kept { name: name.to_owned(), total, samples, parameters: parameters(name, stated) });
            }
        }
        let mut world = Self { types, targets: HashMap::new() };
        world.targets = world.targets(client).await?;
        Ok(world)
    }

    pub fn resources(&self) -> u64 {
        self.types.iter().map(|kept| kept.total).sum()
    }

    pub fn kept(&self, name: &str) -> Option<&Kept> {
        self.types.iter().find(|kept| kept.name == name)
    }

    /// What is at an address, if it is known.
    pub fn at(&self, address: &str) -> Option<&Rc<Sample>> {
        self.targets.get(address)
    }

    async fn targets(&self, client: &mut Client) -> Result<HashMap<String, Rc<Sample>>, Failure> {
        let all = self.types.iter().flat_map(|kept| &kept.samples);
        let mut known: HashMap<_, _> = all.map(|sample| (sample.address.clone(), Rc::clone(sample))).collect();
        for kept in &self.types {
            for parameter in kept.parameters.iter().filter(|one| one.param_type == ParamType::Reference) {
                let elements = kept.samples.iter().flat_map(|sample| parameter.elements(&sample.resource));
                let addresses: Vec<&str> = elements.filter_map(reference).take(TARGETS).collect();
                for address in addresses {
                    if !known.contains_key(address)
                        && let Some(sample) = read(client, address).await?
                    {
                        known.insert(address.to_owned(), Rc::new(sample));
                    }
                }
            }
        }
        Ok(known)
    }

    /// A value of some parameter like this, of any type that has one: types, parameters and resources alike often.
    pub fn draw(&self, dice: &mut Dice, wanted: impl Fn(&Parameter) -> bool) -> Option<Drawn<'_>> {
        let fitting: Vec<(&Kept, Vec<&Rc<Parameter>>)> = self
            .types
            .iter()
            .map(|kept| (kept, kept.parameters.iter().filter(|parameter| wanted(parameter)).collect::<Vec<_>>()))
            .filter(|(_, parameters)| !parameters.is_empty())
            .collect();
        let (kept, parameters) = dice.pick(&fitting)?;
        kept.draw_from(dice, parameters)
    }
}

impl Kept {
    /// The same, of this type.
    pub fn draw(&self, dice: &mut Dice, wanted: impl Fn(&Parameter) -> bool) -> Option<Drawn<'_>> {
        let parameters: Vec<_> = self.parameters.iter().filter(|parameter| wanted(parameter)).collect();
        self.draw_from(dice, &parameters)
    }

    fn draw_from<'w>(&'w self, dice: &mut Dice, parameters: &[&'w Rc<Parameter>]) -> Option<Drawn<'w>> {
        let (parameter, sample) = (dice.pick(parameters)?, dice.pick(&self.samples)?);
        sample.draw(dice, self, parameter)
    }
}

impl Sample {
    /// One of its elements for a parameter.
    pub fn draw<'w>(
        self: &'w Rc<Self>,
        dice: &mut Dice,
        kept: &'w Kept,
        parameter: &'w Rc<Parameter>,
    ) -> Option<Drawn<'w>> {
        let element = *dice.pick(&parameter.elements(&self.resource))?;
        Some(Drawn { kept, parameter, sample: self, element })
    }
}

/// What every server can search by.
const OF_ALL: [&str; 2] = ["_id", "_lastUpdated"];

/// The parameters of a type that the server names and the naive reading understands.
fn parameters(type_name: &str, stated: &Tree) -> Vec<Rc<Parameter>> {
    let codes = stated.get("searchParam").map(Value::items).unwrap_or_default();
    let stated = codes.iter().filter_map(|param| param.get("name").and_then(Value::as_str));
    let codes = OF_ALL.into_iter().chain(stated.filter(|code| !OF_ALL.contains(code)));
    let definition = |code| definitions::r4().search_parameter(type_name, code);
    codes.filter_map(|code| Parameter::read(definition(code)?, type_name).map(Rc::new)).collect()
}

/// Resources of a type, from all parts of the store.
async fn samples(client: &mut Client, name: &str) -> Result<Vec<Rc<Sample>>, Failure> {
    let mut paths = vec![format!("{name}?_count={PER_PART}"), format!("{name}?_count={PER_PART}&_sort=-_lastUpdated")];
    let mut found = Vec::new();
    for path in &paths {
        found.extend(matches(&get(client, path).await?));
    }
    let times: Vec<i64> = found.iter().filter_map(|sample| updated(&sample.resource)).collect();
    if let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) {
        let at = |part: i64| jiff::Timestamp::from_microsecond(first + (last - first) / PARTS * part);
        paths.clear();
        for part in 1..PARTS {
            paths.push(format!("{name}?_count={PER_PART}&_lastUpdated=ge{}", at(part)?));
        }
    }
    for path in &paths {
        found.extend(matches(&get(client, path).await?));
    }
    found.sort_by(|a, b| a.address.cmp(&b.address));
    found.dedup_by(|a, b| a.address == b.address);
    Ok(found.into_iter().map(Rc::new).collect())
}

fn updated(resource: &Tree) -> Option<i64> {
    let text = resource.get("meta")?.get("lastUpdated")?.as_str()?;
    Some(text.parse::<jiff::Timestamp>().ok()?.as_microsecond())
}

/// The matches of a page.
pub fn matches(bundle: &Tree) -> Vec<Sample> {
    in_mode(bundle, "match")
}

/// The resources of a page that are there in this mode.
pub fn in_mode(bundle: &Tree, wanted: &str) -> Vec<Sample> {
    let entries = bundle.get("entry").map(Value::items).unwrap_or_default().iter();
    let mode = |entry: &Tree| entry.get("search").and_then(|search| search.get("mode")?.as_str()).map(str::to_owned);
    let entries = entries.filter(|entry| mode(entry).as_deref().unwrap_or("match") == wanted);
    entries.filter_map(|entry| sample_of(entry.get("resource")?.clone())).collect()
}

fn sample_of(resource: Tree) -> Option<Sample> {
    let object = resource.as_object()?;
    Some(Sample { address: format!("{}/{}", object.resource_type()?, object.id()?), resource })
}

/// The JSON at a path.
pub async fn get(client: &mut Client, path: &str) -> Result<Tree, Failure> {
    let answer = client.send(Method::GET, path, None).await?;
    let name = path.split('?').next().unwrap_or_default();
    check::status(&answer, &[200]).map_err(|error| format!("{name}: {error}"))?;
    Ok(parse(&answer.body, DEPTH).map_err(|error| format!("{name}: {error}"))?.into_owned())
}

/// The resource at an address, if there is one.
pub async fn read(client: &mut Client, address: &str) -> Result<Option<Sample>, Failure> {
    let answer = client.send(Method::GET, address, None).await?;
    if answer.status != 200 {
        return Ok(None);
    }
    Ok(sample_of(parse(&answer.body, DEPTH)?.into_owned()))
}

/// `Bundle.total` at a path.
pub async fn count(client: &mut Client, path: &str) -> Result<u64, Failure> {
    total(&get(client, path).await?).ok_or_else(|| "an answer without total".into())
}

/// `Bundle.total`.
pub fn total(bundle: &Tree) -> Option<u64> {
    match bundle.get("total") {
        Some(Value::Number(text)) => text.parse().ok(),
        _ => None,
    }
}

/// The link to the next page, as a path under the base.
pub fn next(bundle: &Tree, type_name: &str) -> Option<String> {
    let links = bundle.get("link").map(Value::items).unwrap_or_default();
    let next = links.iter().find(|link| link.get("relation").and_then(Value::as_str) == Some("next"))?;
    let url = next.get("url").and_then(Value::as_str)?;
    let at = url.rfind(&format!("/{type_name}"))?;
    url.get(at + 1..).map(str::to_owned)
}
