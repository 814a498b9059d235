//! The modules of the workspace have no import cycles.
//!
//! A file imports another one when its code names an item that the other one defines: in a `use`, or by a path. A name
//! that a third file re-exports counts as an import of the file that defines it. `mod` declarations and code under
//! `#[cfg(test)]` do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree, Visibility};

/// The path of a module below the root of its crate.
type ModulePath = Vec<String>;

/// A module: what it defines, imports and names.
#[derive(Default)]
struct Module {
    file: PathBuf,
    definitions: BTreeSet<String>,
    imports: Vec<Import>,
    /// The paths in the code of the module, outside of `use`.
    paths: Vec<Vec<String>>,
}

/// One leaf of a `use` declaration.
struct Import {
    /// The name that the module gets; `None` for a glob.
    name: Option<String>,
    path: Vec<String>,
    /// A re-export passes names on, but the file itself does not need them.
    is_reexport: bool,
}

/// The modules of one target: a library, a program, or an integration test.
#[derive(Default)]
struct Target {
    modules: BTreeMap<ModulePath, Module>,
}

/// Which names of which file a file imports.
type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

impl Target {
    fn parse(root: &Path) -> Self {
        let mut target = Self::default();
        let folder = root.parent().expect("a source file is in a folder");
        target.parse_file(root, folder, Vec::new());
        target
    }

    /// Parses a file. The files of its child modules are below `folder`.
    fn parse_file(&mut self, file: &Path, folder: &Path, path: ModulePath) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.parse_items(&syntax.items, file, folder, path);
    }

    fn parse_items(&mut self, items: &[Item], file: &Path, folder: &Path, path: ModulePath) {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        for item in items {
            if attributes(item).is_some_and(|attributes| is_test(attributes)) {
                continue;
            }
            match item {
                Item::Mod(child) => {
                    let name = child.ident.to_string();
                    let mut child_path = path.clone();
                    child_path.push(name.clone());
                    let child_folder = folder.join(&name);
                    if let Some((_, items)) = &child.content {
                        self.parse_items(items, file, &child_folder, child_path);
                    } else if let Some(other) = path_attribute(&child.attrs) {
                        let file = file.parent().expect("a source file is in a folder").join(other);
                        self.parse_file(&file, &child_folder, child_path);
                    } else {
                        let plain = folder.join(format!("{name}.rs"));
                        let nested = child_folder.join("mod.rs");
                        let file = if plain.exists() { plain } else { nested };
                        self.parse_file(&file, &child_folder, child_path);
                    }
                }
                Item::Use(item) => {
                    let is_reexport = !matches!(item.vis, Visibility::Inherited);
                    flatten(&item.tree, &mut Vec::new(), is_reexport, &mut module.imports);
                }
                _ => {
                    module.definitions.extend(defined_name(item));
                    Paths(&mut module.paths).visit_item(item);
                }
            }
        }
        self.modules.insert(path, module);
    }

    /// The file that defines what `path` names in the code of the module `from`, and the defined name. `None` for a name
    /// of another crate, for a local name, and for a module.
    fn resolve(&self, from: &ModulePath, path: &[String], depth: usize) -> Option<(PathBuf, String)> {
        let (first, rest) = path.split_first()?;
        // Globs that import each other would recurse forever.
        if depth > 16 {
            return None;
        }
        match first.as_str() {
            "crate" => self.resolve_in(&Vec::new(), rest, depth),
            "self" => self.resolve_in(from, rest, depth),
            "super" => self.resolve_in(&from[..from.len().checked_sub(1)?].to_vec(), rest, depth),
            _ => self.resolve_in(from, path, depth),
        }
    }

    fn resolve_in(&self, module: &ModulePath, path: &[String], depth: usize) -> Option<(PathBuf, String)> {
        let (first, rest) = path.split_first()?;
        if first == "super" {
            return self.resolve(module, path, depth + 1);
        }
        let mut child = module.clone();
        child.push(first.clone());
        if self.modules.contains_key(&child) {
            return self.resolve_in(&child, rest, depth + 1);
        }
        let inside = self.modules.get(module)?;
        if inside.definitions.contains(first) {
            return Some((inside.file.clone(), first.clone()));
        }
        let named = inside
            .imports
            .iter()
            .filter(|import| import.name.as_ref() == Some(first) && import.path.first() != Some(first))
            .map(|import| [&import.path, rest].concat());
        let globs = inside
            .imports
            .iter()
            .filter(|import| import.name.is_none())
            .map(|import| [&import.path, path].concat());
        named
            .chain(globs)
            .find_map(|path| self.resolve(module, &path, depth + 1))
    }

    fn imports(&self) -> Imports {
        let mut imports = Imports::new();
        for (path, module) in &self.modules {
            let used = module.imports.iter().filter(|import| !import.is_reexport);
            let named = used
                .filter(|import| import.name.is_some())
                .map(|import| &import.path);
            for name in named.chain(&module.paths) {
                match self.resolve(path, name, 0) {
                    Some((file, name)) if file != module.file => {
                        let of_file = imports.entry(module.file.clone()).or_default();
                        of_file.entry(file).or_default().insert(name);
                    }
                    _ => {}
                }
            }
        }
        imports
    }
}

fn attributes(item: &Item) -> Option<&Vec<Attribute>> {
    Some(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return None,
    })
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(path),
                ..
            }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    })
}

fn defined_name(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Macro(item) => item.ident.as_ref()?.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        _ => return None,
    })
}

fn flatten(tree: &UseTree, prefix: &mut Vec<String>, is_reexport: bool, imports: &mut Vec<Import>) {
    let mut add = |name: Option<String>, path: Vec<String>| {
        imports.push(Import {
            name,
            path,
            is_reexport,
        });
    };
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, is_reexport, imports);
            prefix.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, prefix, is_reexport, imports);
            }
        }
        UseTree::Name(name) if name.ident == "self" => add(prefix.last().cloned(), prefix.clone()),
        UseTree::Name(name) => add(
            Some(name.ident.to_string()),
            [&prefix[..], &[name.ident.to_string()]].concat(),
        ),
        UseTree::Rename(rename) => add(
            Some(rename.rename.to_string()),
            [&prefix[..], &[rename.ident.to_string()]].concat(),
        ),
        UseTree::Glob(_) => add(None, prefix.clone()),
    }
}

/// Collects the paths in an item, also those in the arguments of macros.
struct Paths<'a>(&'a mut Vec<Vec<String>>);

impl Paths<'_> {
    /// Paths in unparsed tokens: identifiers that are joined by `::`.
    fn visit_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.0.push(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.visit_tokens(group.stream());
                    colons = 0;
                }
                _ => colons = 0,
            }
        }
        self.0.push(path);
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string());
        self.0.push(segments.collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.visit_tokens(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }
}

/// Returns a text for each import cycle: a group of files that all import each other, directly or indirectly.
fn cycles(imports: &Imports) -> Vec<String> {
    let reachable = |start: &PathBuf| {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(file) = open.pop() {
            for next in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<_, _> = imports.keys().map(|file| (file, reachable(file))).collect();
    let mut cycles = BTreeSet::new();
    for (file, others) in reached.iter().filter(|(file, others)| others.contains(**file)) {
        let mutual = |other: &&PathBuf| reached.get(other).is_some_and(|others| others.contains(*file));
        cycles.insert(others.iter().filter(mutual).cloned().collect::<BTreeSet<_>>());
    }
    cycles
        .iter()
        .map(|cycle| {
            let mut text = format!("an import cycle of {} files:", cycle.len());
            for (from, targets) in imports.iter().filter(|(from, _)| cycle.contains(*from)) {
                for (to, names) in targets.iter().filter(|(to, _)| cycle.contains(*to)) {
                    let names: Vec<_> = names.iter().map(String::as_str).collect();
                    let names = names.join(", ");
                    let (from, to) = (from.display(), to.display());
                    text.extend(["\n  ", &format!("{from} imports {names} from {to}")]);
                }
            }
            text
        })
        .collect()
}

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
