//! What `docs/deploy.md` says of schemas and migrations is what the code has, and each schema that a store may have is kept as a fixture.

use super::assert_none;
use super::files::{read, root};
use regex::Regex;

/// The number in `pub const NAME: u32 = …;`.
fn constant(code: &str, name: &str) -> u32 {
    let found = Regex::new(&format!(r"const {name}: u32 = (\d+);")).unwrap().captures(code);
    found.unwrap_or_else(|| panic!("{name} is not in src/store/schema.rs"))[1].parse().unwrap()
}

#[test]
fn the_table_of_releases_and_that_of_migrations_are_those_of_the_code() {
    let (code, page) = (read("src/store/schema.rs").unwrap(), read("docs/deploy.md").unwrap());
    let [writes, beside, opens] = ["WRITES", "BESIDE", "OPENS"].map(|name| constant(&code, name));
    let cargo = read("Cargo.toml").unwrap();
    let version = Regex::new(r#"(?m)^version = "([^"]+)"$"#).unwrap().captures(&cargo).unwrap()[1].to_owned();
    let release = format!("| {version} | {writes} | {beside} | {opens} to {writes} |");
    let mut missing: Vec<String> = if page.contains(&release) { Vec::new() } else { vec![release] };
    let names = Regex::new(r#"name: "([a-z-]+)""#).unwrap();
    let code = code.split("#[cfg(test)]").next().unwrap();
    let rows: Vec<String> =
        (opens..).zip(names.captures_iter(code)).map(|(from, name)| format!("| {from} | `{}` |", &name[1])).collect();
    assert_eq!(rows.len() as u32, writes - opens, "a migration for each schema but the last");
    missing.extend(rows.into_iter().filter(|row| !page.contains(row)));
    assert_none("missing in docs/deploy.md", &missing);
}

#[test]
fn each_earlier_schema_has_its_fixture() {
    let code = read("src/store/schema.rs").unwrap();
    let (beside, writes) = (constant(&code, "BESIDE"), constant(&code, "WRITES"));
    let path = |schema| root().join(format!("tests/fixtures/schema-{schema}.tar.zst"));
    let missing: Vec<_> = (beside..writes).map(path).filter(|path| !path.exists()).collect();
    assert_none("no fixture", &missing.iter().map(|path| path.display().to_string()).collect::<Vec<_>>());
}
