//! `bulk-import`: what the Bundles hold, as NDJSON with a file for each type, is imported by `$import` into a server of its own, from a host of
//! its own; beside it, serde_json parses the Bundles on one core.

use crate::bundles::{DEPTH, Source};
use crate::client::Failure;
use crate::import::rewrite;
use crate::limits::Comparison;
use crate::limits::memory::parse_with_serde;
use crate::limits::process::{Server, default_binary};
use crate::tally::per_second;
use pharos::fhir::parse::parse;
use pharos::fhir::tree::Value;
use pharos::fhir::write::write;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::Agent;

/// How long the limit is measured.
const PARSING: Duration = Duration::from_secs(3);

/// How often it is asked how far the import is: more often is refused.
const POLL: Duration = Duration::from_millis(600);

/// What was measured.
pub struct Measured {
    pub resources: usize,
    pub ratios: Vec<Comparison>,
}

/// Imports the Bundles' resources, `rounds` times with new ids.
pub async fn measure(binary: Option<PathBuf>, sources: &[Source], rounds: u32) -> Result<Measured, Failure> {
    let binary = binary.or_else(default_binary).ok_or("name the server with --binary")?;
    let scratch = tempfile::tempdir()?;
    let types = write_lines(scratch.path(), sources, rounds)?;
    let resources = types.values().sum();
    let parsed = parse_with_serde(sources, PARSING)?;
    let bytes: u64 = length_of(scratch.path(), &types)?;
    let host = serve_files(scratch.path().to_owned())?;
    let settings = [("PHAROS_BULK__IMPORT_HOSTS", "[\"127.0.0.1\"]"), ("PHAROS_BULK__IMPORT_PRIVATE", "true")];
    let server = Server::start_with(&binary, &scratch.path().join("store"), &settings).await?;
    let before = server.processor_time().unwrap_or_default();
    let begin = Instant::now();
    import(&server.url, &host, &types)?;
    let took = begin.elapsed();
    let processor = server.processor_time().unwrap_or_default().saturating_sub(before);
    let peak = server.peak_bytes().unwrap_or_default() / 1_000_000;
    server.stop()?;
    println!("{resources} resources, {bytes} bytes of NDJSON; the server had {peak} MB of memory at most\n");
    let bytes = usize::try_from(bytes)?;
    let compared = |work, took: Duration, limit: f64| Comparison {
        work,
        measured: format!("{:.0} resources/s, {:.1} MB/s", per_second(resources, took), per_second(bytes, took) / 1e6),
        limit: format!("serde_json parses the Bundles with them on one core: {limit:.0} resources/s"),
        ratio: per_second(resources, took) / limit,
        wanted: "≥ 0.15",
    };
    let by_clock = compared("$import, by the clock", took, parsed.resources);
    let by_processor = compared("$import, by the processor", processor, parsed.by_processor);
    Ok(Measured { resources, ratios: vec![by_clock, by_processor] })
}

/// A file for each type; answers how many resources each has. References between them are those of the stored resources.
fn write_lines(folder: &Path, sources: &[Source], rounds: u32) -> Result<BTreeMap<String, usize>, Failure> {
    let mut files: BTreeMap<String, (BufWriter<File>, usize)> = BTreeMap::new();
    for round in 0..rounds {
        for source in sources {
            let text = source.renewed(round);
            let mut bundle = parse(&text, DEPTH)?;
            let addresses = addresses(&bundle);
            rewrite(&mut bundle, &addresses.iter().map(|(url, address)| (url.clone(), address)).collect());
            for entry in bundle.get("entry").map(Value::items).unwrap_or_default() {
                let Some(resource) = entry.get("resource") else { continue };
                let type_name = resource.get("resourceType").and_then(Value::as_str).unwrap_or_default();
                if !files.contains_key(type_name) {
                    let file = File::create(folder.join(format!("{type_name}.ndjson")))?;
                    files.insert(type_name.to_owned(), (BufWriter::new(file), 0));
                }
                let Some((file, count)) = files.get_mut(type_name) else { continue };
                let mut line = Vec::new();
                write(resource, &mut line);
                line.push(b'\n');
                file.write_all(&line)?;
                *count += 1;
            }
        }
    }
    let closed = files.into_iter().map(|(name, (mut file, count))| {
        file.flush()?;
        Ok((name, count))
    });
    closed.collect()
}

/// The address of each entry under its `fullUrl`.
fn addresses(bundle: &Value<'_>) -> HashMap<String, String> {
    let entries = bundle.get("entry").map(Value::items).unwrap_or_default();
    let address = |entry: &Value<'_>| {
        let resource = entry.get("resource")?.as_object()?;
        let url = entry.get("fullUrl")?.as_str()?.to_owned();
        Some((url, format!("{}/{}", resource.resource_type()?, resource.id()?)))
    };
    entries.iter().filter_map(address).collect()
}

/// The length of all files.
fn length_of(folder: &Path, types: &BTreeMap<String, usize>) -> Result<u64, Failure> {
    types.keys().map(|name| Ok(std::fs::metadata(folder.join(format!("{name}.ndjson")))?.len())).sum()
}

/// A host that has the files of a folder; its address.
fn serve_files(folder: PathBuf) -> Result<String, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            if let Err(error) = send_file(connection, &folder) {
                println!("a file was not sent: {error}");
            }
        }
    });
    Ok(address)
}

fn send_file(mut connection: TcpStream, folder: &Path) -> Result<(), Failure> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let first = lines.next().ok_or("an empty request")??;
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let name = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let mut file = File::open(folder.join(name))?;
    let length = file.metadata()?.len();
    write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    std::io::copy(&mut file, &mut connection)?;
    Ok(())
}

/// Imports all files and waits for the end.
fn import(base: &str, host: &str, types: &BTreeMap<String, usize>) -> Result<(), Failure> {
    let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
    let input = |name: &String| json!({ "type": name, "url": format!("{host}/{name}.ndjson") });
    let wanted = json!({
        "inputFormat": "application/fhir+ndjson", "inputSource": host, "storageDetail": { "type": "https" },
        "input": types.keys().map(input).collect::<Vec<_>>(),
    });
    let request = agent.post(format!("{base}/$import")).header("content-type", "application/json");
    let mut begun = request.send(wanted.to_string())?;
    let Some(job) = begun.headers().get("content-location").and_then(|place| place.to_str().ok()).map(str::to_owned)
    else {
        return Err(begun.body_mut().read_to_string()?.into());
    };
    let mut ended = loop {
        std::thread::sleep(POLL);
        let answer = agent.get(&job).call()?;
        if answer.status() != 202 {
            break answer;
        }
    };
    let manifest: serde_json::Value = serde_json::from_slice(&ended.body_mut().read_to_vec()?)?;
    let output = manifest.get("output").and_then(serde_json::Value::as_array).ok_or("no manifest")?;
    let stored: u64 = output.iter().filter_map(|input| input["count"].as_u64()).sum();
    let wanted = u64::try_from(types.values().sum::<usize>())?;
    if stored == wanted { Ok(()) } else { Err(format!("{stored} of {wanted} were stored: {manifest}").into()) }
}
