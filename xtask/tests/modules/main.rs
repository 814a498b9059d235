//! The modules of the workspace have no import cycles.
//!
//! A file imports another one when its code names an item that the other one defines: in a `use`, or by a path. A name
//! that a third file re-exports counts as an import of the file that defines it. `mod` declarations and code under
//! `#[cfg(test)]` do not count.

mod cycles;
mod source;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cycles::cycles;
use source::Target;

/// The root file of every library, program and integration test of the workspace.
fn targets() -> Vec<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .flat_map(|package| package["targets"].as_array().expect("targets"))
        .map(|target| PathBuf::from(target["src_path"].as_str().expect("a path")))
        .collect()
}

#[test]
fn no_module_is_part_of_an_import_cycle() {
    let targets = targets();
    assert!(
        targets.len() > 20,
        "cargo metadata lists too few targets: {targets:?}"
    );
    let found: Vec<_> = targets
        .iter()
        .flat_map(|root| cycles(&Target::parse(root).imports()))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The import cycles of a crate with these files.
fn cycles_of(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("a parent")).expect("writable");
        fs::write(file, text).expect("writable");
    }
    cycles(&Target::parse(&folder.path().join("lib.rs")).imports())
}

#[test]
fn a_cycle_by_use_is_found() {
    let found = cycles_of(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use super::a::A; pub struct B(Box<A>);"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("imports B from"), "{found:?}");
}

#[test]
fn a_cycle_by_a_path_in_an_expression_or_a_macro_is_found() {
    for call in ["crate::b::g();", "println!(\"{}\", crate::b::g());"] {
        let found = cycles_of(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", &format!("pub fn f() {{ {call} }}")),
            ("b.rs", "pub fn g() { super::a::f(); }"),
        ]);
        assert_eq!(found.len(), 1, "{call}: {found:?}");
    }
}

#[test]
fn a_reexport_counts_as_the_file_that_defines_the_name() {
    let files = |c: &'static str| {
        cycles_of(&[
            ("lib.rs", "mod a; mod b; pub use a::A;"),
            ("a.rs", "pub struct A; pub fn f() { crate::b::g(); }"),
            ("b.rs", c),
        ])
    };
    assert_eq!(files("use crate::A; pub fn g() -> Option<A> { None }").len(), 1);
    assert!(files("pub fn g() {}").is_empty());
}

#[test]
fn a_child_and_a_parent_that_import_from_each_other_are_a_cycle() {
    let files = |parent: &'static str| {
        cycles_of(&[
            ("lib.rs", "mod parent;"),
            ("parent.rs", parent),
            ("parent/child.rs", "use super::Limit; pub fn f(_: Limit) {}"),
        ])
    };
    assert_eq!(
        files("mod child; pub struct Limit; pub fn g() { child::f(Limit); }").len(),
        1
    );
    assert!(files("mod child; pub struct Limit; pub use child::f;").is_empty());
}

#[test]
fn declarations_and_test_code_are_no_imports() {
    let found = cycles_of(&[
        ("lib.rs", "mod a; mod b; pub struct Root;"),
        (
            "a.rs",
            "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }",
        ),
        ("b.rs", "use crate::{a::A, Root}; pub struct B(A, Root);"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}
