//! The example resources of HL7, for tests.

use std::collections::BTreeMap;
use std::io::Read;

/// All resources of the package `hl7.fhir.r4.examples` 4.0.1 by the names of their files, definitions included. `None`, and a
/// line that says so, where `PHAROS_R4_PACKAGE` does not name the package.
///
/// # Panics
/// When the package can't be read.
pub fn r4_package() -> Option<BTreeMap<String, Vec<u8>>> {
    let Some(path) = std::env::var_os("PHAROS_R4_PACKAGE") else {
        println!("skipped: PHAROS_R4_PACKAGE does not name the package of HL7's examples");
        return None;
    };
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()));
    let mut examples = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "json") && name != "package" {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            examples.insert(name, bytes);
        }
    }
    Some(examples)
}
