//! `bulk-import`: what the Bundles hold, as NDJSON with a file for each type, is imported by `$import` into a server of its own, from a host of
//! its own; beside it, serde_json parses the same lines on one core.

use crate::bundles::{DEPTH, Source};
use crate::client::Failure;
use crate::import::rewrite;
use crate::limits::Comparison;
use crate::limits::process::{Server, default_binary, processor_time};
use crate::tally::per_second;
use pharos::fhir::parse::parse;
use pharos::fhir::tree::Value;
use pharos::fhir::write::write;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::Agent;

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
    let (parsing, by_processor, bytes) = parse_lines(scratch.path(), &types)?;
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
    let rate = |took: Duration| {
        format!("{:.0} resources/s, {:.0} MB/s", per_second(resources, took), per_second(bytes, took) / 1e6)
    };
    let compared = |work, own: Duration, limit: Duration| Comparison {
        work,
        measured: rate(own),
        limit: format!("serde_json parses the same lines: {}", rate(limit)),
        ratio: limit.as_secs_f64() / own.as_secs_f64(),
        wanted: "≥ 0.15",
    };
    let by_clock = compared("$import, by the clock", took, parsing);
    let by_processor = compared("$import, by the processor", processor, by_processor);
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

/// How long serde_json takes for all lines, by the clock and by the processor, and their length.
fn parse_lines(folder: &Path, types: &BTreeMap<String, usize>) -> Result<(Duration, Duration, usize), Failure> {
    let (mut took, mut processor, mut bytes) = (Duration::ZERO, Duration::ZERO, 0);
    for type_name in types.keys() {
        let text = std::fs::read(folder.join(format!("{type_name}.ndjson")))?;
        bytes += text.len();
        let (begin, before) = (Instant::now(), processor_time("self").unwrap_or_default());
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            black_box(serde_json::from_slice::<serde_json::Value>(line)?);
        }
        took += begin.elapsed();
        processor += processor_time("self").unwrap_or_default().saturating_sub(before);
    }
    Ok((took, processor, bytes))
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
    let output = manifest["output"].as_array().ok_or("no manifest")?;
    let stored: u64 = output.iter().filter_map(|input| input["count"].as_u64()).sum();
    let wanted = u64::try_from(types.values().sum::<usize>())?;
    if stored != wanted { Err(format!("{stored} of {wanted} were stored: {manifest}").into()) } else { Ok(()) }
}
