//! The list of all crates in a program, in the format CycloneDX 1.5, from what Cargo says about its lockfile.
//!
//! Our own instead of `cargo-cyclonedx`, which builds 200 crates for what is a page of JSON here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use xshell::cmd;

use super::Release;

/// What lists are made of: the package, its features, the target, and the name of the file.
const PROGRAMS: [(&str, &str, &str, &str); 2] =
    [("joey", "embed-ui", "x86_64-unknown-linux-gnu", "joey"), ("joey-ui", "", "wasm32-unknown-unknown", "joey-page")];

/// Writes a list for each of [`PROGRAMS`].
pub(super) fn write(release: &Release<'_>) -> Result<()> {
    let sh = &release.here.shell;
    for (package, features, target, name) in PROGRAMS {
        let manifest = release.here.root.join(if package == "joey" { "relay" } else { "ui" }).join("Cargo.toml");
        let features: &[&str] = if features.is_empty() { &[] } else { &["--features", features] };
        let options = ["--format-version", "1", "--locked", "--filter-platform", target];
        let metadata =
            cmd!(sh, "cargo metadata {options...} --manifest-path {manifest} {features...}").quiet().read()?;
        let bill = bill(&serde_json::from_str(&metadata)?, package).context("cargo metadata has another form")?;
        let path = release.file(&format!("{name}-{}.cdx.json", release.version));
        sh.write_file(path, serde_json::to_string_pretty(&bill)? + "\n")?;
    }
    Ok(())
}

/// The list for `package`. It has neither a time nor a serial number, so that it is the same for the same lockfile. `None` if
/// `metadata` is not what `cargo metadata` prints.
fn bill(metadata: &Value, package: &str) -> Option<Value> {
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()?
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    // What is compiled into the program, or runs when it is compiled. Tests are neither.
    let mut needed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array()? {
        let dependencies = node["deps"].as_array()?.iter().filter(|dependency| {
            dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"] != "dev"))
        });
        needed.insert(node["id"].as_str()?, dependencies.filter_map(|dependency| dependency["pkg"].as_str()).collect());
    }
    let (root, _) = packages.iter().find(|(_, candidate)| candidate["name"] == package)?;
    let (mut reached, mut open) = (BTreeSet::from([*root]), vec![*root]);
    while let Some(id) = open.pop() {
        open.extend(needed.get(id)?.iter().filter(|dependency| reached.insert(dependency)));
    }
    let components: Option<Vec<Value>> =
        reached.iter().filter(|id| *id != root).map(|id| component(packages.get(id)?, "library")).collect();
    let dependencies = reached.iter().map(|id| {
        let on: Option<Vec<String>> = needed[id].iter().map(|id| reference(packages.get(id)?)).collect();
        Some(json!({ "ref": reference(packages.get(id)?)?, "dependsOn": on? }))
    });
    Some(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(packages.get(root)?, "application")? },
        "components": components?,
        "dependencies": dependencies.collect::<Option<Vec<Value>>>()?,
    }))
}

/// The package URL, which also identifies a crate within the list.
fn reference(package: &Value) -> Option<String> {
    Some(format!("pkg:cargo/{}@{}", package["name"].as_str()?, package["version"].as_str()?))
}

fn component(package: &Value, kind: &str) -> Option<Value> {
    let reference = reference(package)?;
    let mut component = json!({
        "type": kind,
        "bom-ref": reference,
        "name": package["name"],
        "version": package["version"],
        "purl": reference,
    });
    if let Some(licence) = package["license"].as_str() {
        // Old crates write `MIT/Apache-2.0`.
        component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
    }
    if let Some(repository) = package["repository"].as_str() {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    Some(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_becomes_part_of_the_program_is_listed() {
        let package = |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let on = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let packages = ["joey", "direct", "indirect", "build", "test", "other"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": { "nodes": [
                { "id": "joey", "deps": [on("direct", Value::Null), on("build", json!("build")), on("test", json!("dev"))] },
                { "id": "direct", "deps": [on("indirect", Value::Null)] },
                { "id": "indirect", "deps": [] },
                { "id": "build", "deps": [] },
                { "id": "test", "deps": [on("other", Value::Null)] },
                { "id": "other", "deps": [] },
            ] },
        });
        let bill = bill(&metadata, "joey").unwrap();
        let names: Vec<&str> =
            bill["components"].as_array().unwrap().iter().filter_map(|component| component["name"].as_str()).collect();
        assert_eq!(names, ["build", "direct", "indirect"]);
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["dependencies"][1]["dependsOn"], json!(["pkg:cargo/indirect@1.0.0"]), "{bill:#}");
        assert_eq!(bill["metadata"]["component"]["purl"], "pkg:cargo/joey@1.0.0");
    }
}
