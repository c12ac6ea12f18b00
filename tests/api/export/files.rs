//! The files: ranges, compression, entity tags, splitting, expiry, and a disk that does not take them.

use super::{fill, observation, patient, put};
use crate::support::tokens::block_on;
use crate::support::{Server, job_path};
use pharos::tenant::TenantId;
use serde_json::json;

const TENANT: TenantId = TenantId::DEFAULT;

#[test]
fn a_part_of_a_file_can_be_asked_for() {
    let server = Server::start();
    fill(&server);
    let url = server.export("/$export?_type=Patient").urls("output", None).remove(0);
    let whole = server.get(&url).expect(200);
    let text = whole.text().to_owned();
    let tag = whole.header("etag").unwrap().to_owned();
    assert!(tag.starts_with('"'), "{tag}");
    whole.header_is("accept-ranges", "bytes");
    let length = text.len();
    let part = |range: &str| server.get(&url).header("Range", range).send();
    let some = part("bytes=10-19").status_is(206);
    assert_eq!((some.text(), some.header("etag")), (&text[10..20], Some(&*tag)));
    some.header_is("content-range", &format!("bytes 10-19/{length}"));
    assert_eq!(part("bytes=-7").status_is(206).text(), &text[length - 7..]);
    assert_eq!(part("bytes=0-1,4-5").status_is(200).text(), text);
    part(&format!("bytes={length}-")).status_is(416).header_is("content-range", &format!("bytes */{length}"));
    let going_on = server.get(&url).header("Range", "bytes=5-").header("If-Range", &tag).expect(206);
    assert_eq!(going_on.text(), &text[5..]);
    let of_another = server.get(&url).header("Range", "bytes=5-").header("If-Range", "\"other\"").expect(200);
    assert_eq!(of_another.text(), text);
    server.get(&url).header("If-None-Match", &tag).expect(304);
    let head = server.head(&url).expect(200);
    assert_eq!((head.header("content-length"), head.text()), (Some(&*length.to_string()), ""));
    server.post(&url).json(json!({})).expect(405).header_is("allow", "GET, HEAD");
    let accepting = server.get(&url).header("Accept", "application/fhir+ndjson").expect(200);
    accepting.header_is("content-type", "application/fhir+ndjson");
}

#[test]
fn files_are_compressed_where_that_is_asked_for() {
    let server = Server::start();
    fill(&server);
    let url = server.export("/$export?_type=Patient").urls("output", None).remove(0);
    let plain = server.get(&url).expect(200);
    // The client unpacks gzip by itself, and takes the header away.
    let packed = server.get(&url).header("Accept-Encoding", "gzip").expect(200);
    assert!(packed.header("etag").unwrap().starts_with("W/"), "it has other bytes");
    assert_eq!(packed.text(), plain.text());
    let path = url.split_once("/fhir/").unwrap().1;
    let head = format!("GET /fhir/{path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n");
    assert!(server.raw(head.as_bytes()).contains("\r\ncontent-encoding: gzip\r\n"));
    let part = server.get(&url).header("Accept-Encoding", "gzip").header("Range", "bytes=0-4").expect(206);
    assert_eq!(part.text(), &plain.text()[..5]);
}

#[test]
fn many_resources_go_into_several_files() {
    let server = Server::with(|config| config.bulk.file_bytes = 20_000);
    let mut expected = Vec::new();
    for part in 0..10 {
        let entry = |n: u64| json!({"resource": patient(&format!("p{n}")), "request": {"method": "PUT", "url": format!("Patient/p{n}")}});
        let entries: Vec<_> = (part * 120..(part + 1) * 120).map(entry).collect();
        server.post("/").json(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).expect(200);
        expected.extend((part * 120..(part + 1) * 120).map(|n| format!("Patient/p{n}")));
    }
    let exported = server.export("/$export");
    assert!(exported.urls("output", Some("Patient")).len() > 5);
    expected.sort_unstable();
    assert_eq!(exported.names(), expected);
}

#[test]
fn what_is_on_disk_is_sealed_and_goes_when_it_is_over() {
    let server = Server::with(|config| config.bulk.lifetime_s = 3);
    fill(&server);
    let exported = server.export("/$export");
    let folder = server.app().exports.folder_of(TENANT, &exported.path[7..]);
    let mut files = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"Family" || window == b"Patien"));
        files += 1;
    }
    assert!(files >= 4);
    let sweep = || block_on(server.app().sweep_exports(TENANT)).unwrap();
    assert_eq!(sweep(), 0);
    exported.names();
    // The clock of the test moves a millisecond at each look.
    for _ in 0..3000 {
        assert!(server.app().now().0 > 0);
    }
    server.get(&exported.path).expect(404).issue("not-found");
    server.get(&exported.urls("output", None)[0]).expect(404);
    assert_eq!((sweep(), folder.exists(), sweep()), (1, false, 0));
}

#[test]
fn a_cancelled_export_leaves_nothing() {
    let server = Server::start();
    fill(&server);
    server.app().jobs.stop();
    let path = job_path(&server, &server.get("/$export").expect(202));
    server.delete(&path).expect(202);
    server.get(&path).expect(404);
    let keeper = server.app().store().keeper();
    assert_eq!(keeper.list(TENANT, "pin", "", None, 10).unwrap().len(), 4);
    assert_eq!(block_on(server.app().sweep_exports(TENANT)).unwrap(), 1);
    assert!(keeper.list(TENANT, "pin", "", None, 10).unwrap().is_empty());
    assert!(keeper.list(TENANT, "spared", "", None, 10).unwrap().is_empty());
}

#[test]
fn a_disk_that_does_not_take_the_files_is_waited_for() {
    let server = Server::start();
    fill(&server);
    let job = |path: &str| server.app().jobs.get(TENANT, &path[7..]).unwrap().unwrap();
    server.app().jobs.stop();
    let path = job_path(&server, &server.get("/$export?_type=Patient,Observation").expect(202));
    // A file stands where the folder has to be.
    let folder = server.app().exports.folder_of_tenant(TENANT);
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    std::fs::write(&folder, b"").unwrap();
    block_on(server.app().jobs.run_to_end(TENANT, &path[7..])).unwrap();
    assert!(job(&path).failure.unwrap().contains("when there is room"));
    server.get(&path).expect(202);
    std::fs::remove_file(&folder).unwrap();
    block_on(server.app().jobs.run_to_end(TENANT, &path[7..])).unwrap();
    let exported = server.export_at(&path);
    assert_eq!(exported.names().len(), 6);
}

#[test]
fn an_export_leaves_room_for_the_store() {
    let server = Server::with(|config| config.bulk.free_floor_mib = u64::MAX);
    fill(&server);
    server.app().jobs.stop();
    let path = job_path(&server, &server.get("/$export").expect(202));
    let job = block_on(server.app().jobs.run_to_end(TENANT, &path[7..])).unwrap().unwrap();
    assert!(job.failure.unwrap().contains("when there is room"));
}

#[test]
fn only_so_many_exports_are_kept() {
    let server = Server::with(|config| config.bulk.kept_exports = 2);
    fill(&server);
    let first = server.export("/$export");
    server.export("/$export");
    server.get("/$export").expect(429).says("bulk.kept_exports");
    server.delete(&first.path).expect(202);
    server.get("/$export").expect(202);
}

#[test]
fn a_file_that_was_tampered_with_is_not_sent() {
    let server = Server::start();
    fill(&server);
    put(&server, &observation("more", "a"));
    let exported = server.export("/$export?_type=Patient");
    let file = server.app().exports.folder_of(TENANT, &exported.path[7..]).join("1.Patient.ndjson");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let broken = server.get(&exported.urls("output", None)[0]).try_send();
    assert!(broken.is_err(), "it breaks off");
}
