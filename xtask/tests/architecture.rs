//! The code map in ARCHITECTURE.md matches the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testbed::paths;

/// The crates that each crate depends on.
type Dependencies = BTreeMap<String, BTreeSet<String>>;

fn architecture() -> String {
    fs::read_to_string(paths::workspace().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is readable")
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(paths::workspace())
        .output()
        .expect("cargo runs");
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// The dependencies between the crates of the workspace, without build and test dependencies.
fn actual(metadata: &Value) -> Dependencies {
    let packages = || metadata["packages"].as_array().expect("packages").iter();
    let names: BTreeSet<_> = packages().map(name).collect();
    packages()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
            let in_workspace = dependencies
                .filter(|dependency| dependency["kind"].is_null())
                .map(name)
                .filter(|dependency| names.contains(dependency));
            (name(package), in_workspace.collect())
        })
        .collect()
}

fn name(value: &Value) -> String {
    value["name"].as_str().expect("a name").to_owned()
}

/// The edges of the diagram below "Code map".
fn drawn(text: &str) -> Dependencies {
    let (_, code_map) = text.split_once("## Code map").expect("a code map");
    let diagram = code_map.split("```").nth(1).expect("a diagram");
    let mut edges = Dependencies::new();
    for line in diagram.lines().filter(|line| line.contains("-->")) {
        let nodes: Vec<Vec<_>> = line
            .split("-->")
            .map(|nodes| nodes.split('&').map(|node| node.trim().to_owned()).collect())
            .collect();
        for pair in nodes.windows(2) {
            for from in &pair[0] {
                edges
                    .entry(from.clone())
                    .or_default()
                    .extend(pair[1].iter().cloned());
            }
        }
    }
    edges
}

/// Everything that `from` depends on, directly or indirectly.
fn closure(from: &str, edges: &Dependencies) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(crate_name) = next.pop() {
        for dependency in edges.get(&crate_name).into_iter().flatten() {
            if reached.insert(dependency.clone()) {
                next.push(dependency.clone());
            }
        }
    }
    reached
}

#[test]
fn the_diagram_shows_the_dependencies_of_each_crate() {
    let (actual, drawn) = (actual(&metadata()), drawn(&architecture()));
    for crate_name in actual.keys() {
        assert_eq!(
            closure(crate_name, &drawn),
            closure(crate_name, &actual),
            "ARCHITECTURE.md draws other dependencies of {crate_name} than Cargo.toml states"
        );
    }
}

#[test]
fn the_table_names_each_crate_and_files_that_exist() {
    let text = architecture();
    let mut listed = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [folders, crates, _, files] = cells[..] else {
            panic!("expected four cells: {row}");
        };
        listed.extend(quoted(crates).map(str::to_owned));
        for folder in quoted(folders) {
            let root = paths::workspace().join(folder);
            for file in quoted(files) {
                let exists = |base: &Path| base.join(file).exists();
                assert!(
                    exists(&root) || exists(&root.join("src")),
                    "ARCHITECTURE.md: {folder} has no {file}"
                );
            }
        }
    }
    let expected: BTreeSet<_> = actual(&metadata()).into_keys().collect();
    assert_eq!(listed, expected, "the crates of the table in ARCHITECTURE.md");
}

/// The texts in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}
