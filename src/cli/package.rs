//! `pharos package`: FHIR NPM packages, such as implementation guides.

use super::load::{Inside, Reason, Remote, Target};
use super::{Failure, Settings};
use crate::fhir::parse::parse;
use crate::fhir::tree::{Object, Value};
use crate::fhir::write;
use crate::store::body::Body;
use clap::{Args, Subcommand};
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The types of the resources that are installed.
const TYPES: [&str; 6] =
    ["CapabilityStatement", "CodeSystem", "OperationDefinition", "SearchParameter", "StructureDefinition", "ValueSet"];

/// Resources that are written in one transaction.
const TOGETHER: usize = 200;

/// The same in bytes: less than what a server takes as one body.
const BYTES_TOGETHER: usize = 4 << 20;

/// A file of a package that is larger is no resource that would be installed, in bytes.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

/// Installs FHIR NPM packages, over HTTP or into a store that no server has open.
#[derive(Debug, Args)]
pub struct Package {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Store the conformance resources of a package under the ids that they have there. What is there already is left alone.
    Install(Install),
}

#[derive(Debug, Args)]
struct Install {
    /// The package: a .tgz with a folder `package`.
    #[arg(value_name = "FILE.tgz")]
    file: PathBuf,
    /// Install into the server at this FHIR base URL; without it, into the store, which no server may have open.
    #[arg(long, value_name = "BASE")]
    url: Option<String>,
    /// The bearer token to send.
    #[arg(long, env = "PHAROS_LOAD_TOKEN", hide_env_values = true, requires = "url")]
    token: Option<String>,
    /// The name of the tenant to install into; the default tenant if not given.
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    tenant: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
///
/// # Errors
/// When the package can't be read, the server does not answer, or a resource is refused: then the others are installed.
#[allow(clippy::print_stdout)]
pub fn run(command: Package) -> Result<(), Failure> {
    let Action::Install(install) = command.action;
    let resources = resources(&install.file)?;
    let counts = if let Some(url) = &install.url {
        let target = Remote::new(url, install.token.as_deref())?;
        let result = write_all(&target, &resources);
        target.close()?;
        result?
    } else {
        let target = Inside::open(install.settings, install.tenant.as_deref())?;
        let result = write_all(&target, &resources).and_then(|counts| {
            let name = install.file.file_name().unwrap_or_default().to_string_lossy();
            let refused = counts.refused.len();
            let note = format!("pharos package install; installed: {}; refused: {refused}", counts.written);
            target.note("package", &name, note)?;
            Ok(counts)
        });
        target.close()?;
        result?
    };
    println!("{} resources installed, {} were there already.", counts.written, counts.unchanged);
    for (name, why) in &counts.refused {
        println!("Refused: {name}: {why}");
    }
    if counts.refused.is_empty() { Ok(()) } else { Err(format!("{} resources refused", counts.refused.len()).into()) }
}

/// The JSON of the resources in a package that are of one of [`TYPES`], in the order of the package.
fn resources(file: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let archive = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let mut resources = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        // Resources stand right in the folder; below it are examples and other things.
        if path.parent() != Some(Path::new("package")) || !is_json || entry.size() > LARGEST_FILE {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        let Ok(tree) = parse(&bytes, usize::MAX) else { continue };
        let type_name = tree.as_object().and_then(Object::resource_type);
        if type_name.is_some_and(|name| TYPES.contains(&name)) {
            resources.push(bytes);
        }
    }
    if resources.is_empty() {
        return Err(format!("{} has no conformance resources in a folder `package`", file.display()).into());
    }
    Ok(resources)
}

#[derive(Debug, Default)]
struct Counts {
    written: usize,
    unchanged: usize,
    /// Type and id, and why.
    refused: Vec<(String, String)>,
}

fn write_all(target: &dyn Target, resources: &[Vec<u8>]) -> Result<Counts, Failure> {
    let parsed = resources.iter().map(|bytes| parse(bytes, usize::MAX)).collect::<Result<Vec<_>, _>>()?;
    let all: Vec<(&Object<'_>, usize)> =
        parsed.iter().zip(resources).filter_map(|(tree, bytes)| Some((tree.as_object()?, bytes.len()))).collect();
    let mut counts = Counts::default();
    for part in parts(&all) {
        let new = new_ones(target, part)?;
        counts.unchanged += part.len() - new.len();
        if new.is_empty() {
            continue;
        }
        let together = put(target, &new)?;
        if together.iter().all(Option::is_none) {
            counts.written += new.len();
            continue;
        }
        for resource in new {
            match put(target, &[resource])?.pop().flatten() {
                None => counts.written += 1,
                Some(reason) => counts.refused.push((name(resource), reason.to_string())),
            }
        }
    }
    Ok(counts)
}

/// Resources, each with the length of its JSON, in groups for one Bundle each.
fn parts<'a, 'o>(all: &'a [(&'o Object<'o>, usize)]) -> impl Iterator<Item = &'a [(&'o Object<'o>, usize)]> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let mut length = 0;
        let fits = |(_, of_one): &&(&Object<'_>, usize)| {
            length += of_one;
            length <= BYTES_TOGETHER
        };
        let count = rest.iter().take(TOGETHER).take_while(fits).count().max(1);
        let (part, others) = rest.split_at_checked(count)?;
        rest = others;
        Some(part)
    })
}

fn name(resource: &Object<'_>) -> String {
    format!("{}/{}", resource.resource_type().unwrap_or_default(), resource.id().unwrap_or_default())
}

/// Those that are not stored already as they are.
fn new_ones<'o>(target: &dyn Target, part: &[(&'o Object<'o>, usize)]) -> Result<Vec<&'o Object<'o>>, Failure> {
    let read = |(resource, _): &(&Object<'_>, usize)| {
        let url = name(resource);
        crate::tree!({ "request": { "method": "GET", "url": (url) } })
    };
    let answer =
        target.answer(&bundle("batch", part.iter().map(read).collect())).map_err(|reason| reason.to_string())?;
    let answer = parse(&answer, usize::MAX)?;
    let stored = answer.get("entry").map(Value::items).unwrap_or_default();
    if stored.len() != part.len() {
        return Err("the answer does not have an entry for each that was asked for".into());
    }
    let is_new = |(entry, resource): (&Value<'_>, &'o Object<'o>)| {
        let stored = entry.get("resource").and_then(Value::as_object);
        let is_same = stored.is_some_and(|stored| Body::pack(stored) == Body::pack(resource));
        (!is_same).then_some(resource)
    };
    Ok(stored.iter().zip(part.iter().map(|(resource, _)| *resource)).filter_map(is_new).collect())
}

/// Stores resources in one transaction; answers for each why it was not written. An error is that nobody answers.
fn put(target: &dyn Target, resources: &[&Object<'_>]) -> Result<Vec<Option<Reason>>, Failure> {
    let entry = |resource: &&Object<'_>| {
        let url = name(resource);
        let resource = Value::Object((*resource).clone().into_owned());
        crate::tree!({ "resource": (resource), "request": { "method": "PUT", "url": (url) } })
    };
    match target.send(&bundle("transaction", resources.iter().map(entry).collect())) {
        Ok(outcomes) => Ok(outcomes),
        Err(reason) if reason.unreachable => Err(reason.to_string().into()),
        Err(reason) => Ok(vec![Some(reason); resources.len()]),
    }
}

fn bundle(kind: &'static str, entries: Vec<Value<'static>>) -> Vec<u8> {
    write::to_vec(&crate::tree!({ "resourceType": "Bundle", "type": (kind), "entry": (Value::Array(entries)) }))
}
