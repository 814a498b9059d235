//! The modules of a target: parsed from their files, with the names that each file defines, imports and uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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
pub(crate) struct Target {
    modules: BTreeMap<ModulePath, Module>,
}

/// Which names of which file a file imports.
pub(crate) type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

impl Target {
    /// Parses a target from its root file.
    pub(crate) fn parse(root: &Path) -> Self {
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

    pub(crate) fn imports(&self) -> Imports {
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
