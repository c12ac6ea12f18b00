//! What sources may do, and what becomes of an input then.

use super::{TENANT, begin, counts, import, lines, local, manifest, patient, server};
use crate::support::source::send;
use crate::support::tokens::block_on;
use crate::support::{Server, Source, job_path};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_can_not_be_read_is_refused_by_name() {
    let server = server();
    let source = Source::of([]);
    let good = source.url("/p");
    let input = |type_name: &str, url: &str| manifest(&[(type_name, url)]);
    let mut cases = vec![
        (input("Pacient", &good), "input[0].type"),
        (input("AuditEvent", &good), "input[0].type"),
        (input("Patient", "https://example.org/p"), "input[0].url"),
        (input("Patient", "ftp://127.0.0.1/p"), "input[0].url"),
        (input("Patient", "http://user:word@127.0.0.1/p"), "input[0].url"),
        (input("Patient", "file:///etc/passwd"), "input[0].url"),
        (manifest(&[("Patient", &good), ("Patient", "nothing")]), "input[1].url"),
        (manifest(&[]), "input"),
        (json!({"input": [{"type": "Patient"}]}), "input[0].url"),
        (json!({"input": [{"url": good}]}), "input[0].type"),
        (json!({"input": [{"type": "Patient", "url": good, "etag": "x"}]}), "input[0].etag"),
        (json!({"input": 7}), "input"),
    ];
    for (name, value) in [
        ("inputFormat", json!("application/fhir+parquet")),
        ("storageDetail", json!({"type": "aws-s3"})),
        ("mode", json!("overwrite")),
        ("validation", json!("strict")),
        ("match", json!("name")),
    ] {
        let mut wanted = input("Patient", &good);
        wanted[name] = value;
        cases.push((wanted, name));
    }
    for (wanted, place) in cases {
        server.post("/$import").body("application/json", wanted.to_string()).expect(400).about(place);
    }
    let inputs: Vec<_> = (0..1001).map(|_| ("Patient", &*good)).collect();
    server.post("/$import").json(manifest(&inputs)).expect(400).about("input").says("bulk.import_inputs");
    server.post("/$import").json(patient("a")).expect(400);
    server.post("/$import?unheard=of").body("application/fhir+ndjson", "").expect(400).about("unheard");
    server.get("/$import").expect(405);
    let entry = json!({"request": {"method": "POST", "url": "$import"}, "resource": {"resourceType": "Parameters"}});
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [entry]});
    assert!(server.post("/").json(batch).expect(200).text().contains("request of its own"));
    assert!(server.app().jobs.list(TENANT).unwrap().is_empty(), "nothing was begun");
    assert_eq!(source.asked("/p"), 0);
}

#[test]
fn without_hosts_and_for_private_addresses_nothing_is_fetched() {
    let closed = Server::start();
    let source = Source::of([("/p", lines(&[patient("a")]))]);
    let wanted = manifest(&[("Patient", &source.url("/p"))]);
    closed.post("/$import").json(&wanted).expect(400).about("input[0].url");
    let public = Server::with(|config| config.bulk.import_hosts = vec!["127.0.0.1".into(), "localhost".into()]);
    public.post("/$import").json(&wanted).expect(400).about("input[0].url");
    let secure = source.url("/p").replace("http://127.0.0.1", "https://localhost");
    let imported = import(&public, &manifest(&[("Patient", &secure)]));
    assert!(imported.notes()[0].contains("not public"), "{:?}", imported.notes());
    assert_eq!((counts(&imported), source.asked("/p")), (vec![(0, 0)], 0));
}

#[test]
fn redirects_are_followed_to_allowed_hosts_only() {
    let server = server();
    let source = Source::start(|path, _, connection| match path {
        "/inside" => send(connection, 302, "Location: /p\r\n", b""),
        "/outside" => send(connection, 307, "Location: http://169.254.169.254/latest\r\n", b""),
        "/round" => send(connection, 301, "Location: /round\r\n", b""),
        "/nowhere" => send(connection, 301, "", b""),
        _ => send(connection, 200, "", lines(&[patient("a")]).as_bytes()),
    });
    let urls = ["/inside", "/outside", "/round", "/nowhere"].map(|path| source.url(path));
    let inputs: Vec<_> = urls.iter().map(|url| ("Patient", &**url)).collect();
    let imported = import(&server, &manifest(&inputs));
    assert_eq!(counts(&imported), [(1, 0), (0, 0), (0, 0), (0, 0)]);
    let notes = imported.notes();
    assert!(
        notes[0].contains("bulk.import_hosts") && notes[1].contains("too often") && notes[2].contains("nowhere"),
        "{notes:?}"
    );
    let told: Vec<Value> =
        imported.manifest["error"].as_array().unwrap().iter().map(|error| error["inputUrl"].clone()).collect();
    assert_eq!(told, urls[1..], "each error names its input");
}

#[test]
fn compressed_texts_are_read_as_what_they_are() {
    let server = server();
    let source = Source::start(|path, _, connection| {
        let packed = gzip(&lines(&[patient(path.trim_start_matches('/'))]));
        match path {
            "/a" => send(connection, 200, "Content-Type: application/gzip\r\n", &packed),
            "/b" => send(connection, 200, "Content-Encoding: gzip\r\n", &packed),
            _ => send(connection, 200, "", &packed[..packed.len() / 2]),
        }
    });
    let urls = ["/a", "/b", "/c"].map(|path| source.url(path));
    let inputs: Vec<_> = urls.iter().map(|url| ("Patient", &**url)).collect();
    let imported = import(&server, &manifest(&inputs));
    assert_eq!(counts(&imported), [(1, 0), (1, 0), (0, 0)]);
    assert!(imported.notes()[0].contains("cut off"), "{:?}", imported.notes());
}

#[test]
fn a_source_that_breaks_off_is_read_again_unless_it_is_another_then() {
    let server = server();
    let text = lines(&[patient("a"), patient("b")]);
    let whole = text.len();
    let source = Source::start(move |path, nth, connection| {
        let part = if path != "/never" && nth > 0 { &text } else { &text[..whole / 2 + 5] };
        let tag = if path == "/changes" { nth } else { 0 };
        let head = format!("HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\nContent-Length: {whole}\r\n\r\n{part}");
        if path == "/busy" && nth == 0 {
            send(connection, 503, "", b"");
        } else {
            connection.write_all(head.as_bytes()).unwrap();
        }
    });
    let urls = ["/once", "/changes", "/never", "/busy"].map(|path| source.url(path));
    let inputs: Vec<_> = urls.iter().map(|url| ("Patient", &**url)).collect();
    let imported = import(&server, &manifest(&inputs));
    assert_eq!(counts(&imported), [(2, 0), (0, 0), (0, 0), (2, 2)]);
    let notes = imported.notes();
    assert!(notes[0].contains("changed") && notes[1].contains("cut off"), "{notes:?}");
    assert_eq!((source.asked("/once"), source.asked("/changes"), source.asked("/never")), (2, 2, 3));
}

#[test]
fn what_hangs_or_is_too_much_fails_for_itself() {
    let server = Server::with(|config| {
        local(config);
        config.bulk.import_stall_ms = 100;
        config.bulk.import_bytes = 3 << 20;
        config.limits.body_bytes = 1 << 20;
    });
    let source = Source::start(|path, _, connection| match path {
        "/hangs" => {
            connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").unwrap();
            std::thread::sleep(Duration::from_mins(1));
        }
        "/mute" => std::thread::sleep(Duration::from_mins(1)),
        // One line without an end, as far as anybody listens.
        "/endless" => {
            let mut more = connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            let endless = vec![b'x'; 1 << 16];
            while more.is_ok() {
                more = connection.write_all(&endless);
            }
        }
        "/long" => send(connection, 200, "", format!("{}\n{}", "x".repeat(2 << 20), patient("a")).as_bytes()),
        _ => send(connection, 404, "", b""),
    });
    let urls = ["/hangs", "/mute", "/endless", "/long", "/none"].map(|path| source.url(path));
    let inputs: Vec<_> = urls.iter().map(|url| ("Patient", &**url)).collect();
    let imported = import(&server, &manifest(&inputs));
    assert_eq!(counts(&imported), [(0, 0), (0, 0), (0, 0), (1, 0), (0, 0)]);
    let notes = imported.notes();
    for (note, part) in
        notes.iter().zip(["import_stall_ms", "asked", "bulk.import_bytes", "Line 1: It is longer", "status 404"])
    {
        assert!(note.contains(part), "{part}: {notes:?}");
    }
    assert_eq!(notes.len(), 5);
    assert_eq!((source.asked("/endless"), source.asked("/none")), (1, 1), "what stays so is not tried again");
}

#[test]
fn a_line_far_over_the_limit_is_passed_over_in_steps() {
    let server = Server::with(|config| {
        local(config);
        config.limits.body_bytes = 100_000;
    });
    let source = Source::start(|_, _, connection| {
        let (first, last) = (patient("a").to_string(), patient("b").to_string());
        let length = first.len() + 1 + (80 << 20) + 1 + last.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{first}\n");
        connection.write_all(head.as_bytes()).unwrap();
        for _ in 0..80 {
            connection.write_all(&vec![b'y'; 1 << 20]).unwrap();
        }
        connection.write_all(format!("\n{last}").as_bytes()).unwrap();
    });
    let imported = import(&server, &manifest(&[("Patient", &source.url("/p"))]));
    assert_eq!(counts(&imported), [(2, 0)]);
    assert_eq!(imported.notes(), ["Line 2: It is longer than limits.body_bytes allows."]);
}

#[test]
fn what_is_cancelled_reads_and_stores_nothing_more() {
    let server = server();
    let source = Source::start(|_, _, connection| {
        let head = format!("HTTP/1.1 200 OK\r\n\r\n{}\n", patient("a"));
        connection.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_mins(1));
    });
    let begun = begin(&server, &manifest(&[("Patient", &source.url("/p"))]));
    let path = job_path(&server, &begun);
    while source.asked("/p") == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let waiting = server.get(&path).expect(202);
    assert!(waiting.header("x-progress").is_some() && waiting.header("retry-after").is_some());
    server.delete(&path).expect(202);
    server.get(&path).expect(404).issue("not-found");
    let id = &path[7..];
    while !server.app().jobs.get(TENANT, id).unwrap().unwrap().state.is_ended() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(block_on(server.app().sweep_exports(TENANT)).unwrap(), 1);
    assert!(!server.app().exports.folder_of(TENANT, id).exists());
    server.get("/Patient/a").expect(404);
}
