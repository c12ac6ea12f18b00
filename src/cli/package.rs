//! `pharos package`: FHIR NPM packages, such as implementation guides.

use super::load::describe;
use super::{Failure, Settings, serve};
use crate::app::App;
use crate::auth::grant::Grant;
use crate::error::Error;
use crate::fhir::parse::parse;
use crate::fhir::tree::{Object, Value};
use crate::interaction::{Request, perform};
use crate::store::body::Body;
use crate::tenant::TenantId;
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

/// A file of a package that is larger is no resource that would be installed, in bytes.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

/// Installs FHIR NPM packages into a store that no server has open.
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
    /// The number of the tenant to install into; the default tenant if not given.
    #[arg(long, value_name = "T")]
    tenant: Option<u32>,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command.
///
/// # Errors
/// When the package can't be read, or a resource of it is refused: then the others are installed.
#[allow(clippy::print_stdout)]
pub fn run(command: Package) -> Result<(), Failure> {
    let Action::Install(install) = command.action;
    let resources = resources(&install.file)?;
    let config = install.settings.load()?;
    serve::log_to_stderr(config.log_format);
    let app = serve::open(config)?;
    let grant = Grant::unrestricted(install.tenant.map_or(TenantId::DEFAULT, TenantId));
    let result = write_all(&app, &grant, &resources);
    app.stop();
    app.store().close()?;
    let counts = result?;
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

fn write_all(app: &App, grant: &Grant, resources: &[Vec<u8>]) -> Result<Counts, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut counts = Counts::default();
    for part in resources.chunks(TOGETHER) {
        let new = part.iter().filter_map(|bytes| is_new(app, grant, bytes).transpose());
        let new = new.collect::<Result<Vec<_>, Failure>>()?;
        counts.unchanged += part.len() - new.len();
        if new.is_empty() {
            continue;
        }
        let together = runtime.block_on(put(app, grant, &new));
        if together.is_ok() {
            counts.written += new.len();
            continue;
        }
        for resource in &new {
            match runtime.block_on(put(app, grant, std::slice::from_ref(resource))) {
                Ok(()) => counts.written += 1,
                Err(error) => {
                    let why = error.issues.iter().map(describe).collect::<Vec<_>>().join("; ");
                    counts.refused.push((name(resource), why));
                }
            }
        }
    }
    Ok(counts)
}

fn name(resource: &Object<'_>) -> String {
    format!("{}/{}", resource.resource_type().unwrap_or_default(), resource.id().unwrap_or_default())
}

/// The resource, unless it is stored as it is already.
fn is_new<'b>(app: &App, grant: &Grant, bytes: &'b [u8]) -> Result<Option<Object<'b>>, Failure> {
    let Value::Object(resource) = parse(bytes, usize::MAX)? else { return Ok(None) };
    let (type_name, id) = (resource.resource_type().unwrap_or_default(), resource.id().unwrap_or_default());
    let records = app.store().open(grant)?;
    let stored = records.view().find(type_name, id)?.map(|rid| records.view().current(rid)).transpose()?.flatten();
    let stored = stored.and_then(|version| version.body);
    Ok(if stored.is_some_and(|body| body == Body::pack(&resource)) { None } else { Some(resource) })
}

/// Stores resources in one transaction.
async fn put(app: &App, grant: &Grant, resources: &[Object<'_>]) -> Result<(), Error> {
    let entry = |resource: &Object<'_>| {
        let url = name(resource);
        let resource = Value::Object(resource.clone().into_owned());
        crate::tree!({ "resource": (resource), "request": { "method": "PUT", "url": (url) } })
    };
    let entries: Vec<Value<'static>> = resources.iter().map(entry).collect();
    let bundle = crate::tree!({ "resourceType": "Bundle", "type": "transaction", "entry": (Value::Array(entries)) });
    let request = Request::of_bundle(bundle);
    let context = app.context(grant.clone())?;
    perform(&context, request).await.map(drop)
}
