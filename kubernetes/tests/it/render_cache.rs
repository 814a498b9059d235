//! Renders each kustomization once for all tests.
//!
//! Each test is a process of its own, and kubectl needs 0.3 s for an overlay. Some 70 tests read all of them.

use manifests::render;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    sync::LazyLock,
};
use testbed::components;

/// A hash of everything that a rendering depends on: every file of the manifests, and kubectl.
static INPUTS: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for path in files(&render::root()) {
        let content = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    let kubectl = components::kubectl().expect("the pinned kubectl");
    let built = fs::metadata(kubectl).expect("kubectl");
    hash.update(format!("{} {:?}", built.len(), built.modified().expect("a time")));
    hex::encode(hash.finalize())
});

/// Returns the files below a folder, sorted by path.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.append(&mut self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Returns the objects of a kustomization. Renders it if no test has rendered it from the same inputs before.
pub(crate) fn render(kustomization: &Path) -> Vec<Value> {
    let relative = kustomization
        .strip_prefix(render::root())
        .expect("a folder of the manifests");
    let relative = relative.to_string_lossy();
    let name = relative.replace('/', "-");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rendered-{name}.json"));
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // Tests that start at the same time wait for the first of them. The lock ends with the process.
    file.lock().expect("a lock");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("readable");
    // A process that was killed while it wrote leaves no JSON.
    let mut stored: Value = serde_json::from_str(&text).unwrap_or_default();
    // The names of two folders, such as `a/b` and `a-b`, may be those of one file.
    if stored["inputs"] == *INPUTS && stored["kustomization"] == *relative {
        match stored["objects"].take() {
            Value::Array(objects) => return objects,
            other => panic!("{}: {other}", path.display()),
        }
    }
    let objects = render::render(kustomization)
        .unwrap_or_else(|error| panic!("{}: {error:#}", kustomization.display()));
    let text = json!({ "inputs": *INPUTS, "kustomization": relative, "objects": objects }).to_string();
    file.set_len(0).expect("writable");
    file.rewind().expect("writable");
    file.write_all(text.as_bytes()).expect("writable");
    objects
}
