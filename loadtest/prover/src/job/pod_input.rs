//! The input of the pods: the flags of `run`, and the files that some flags name. Each file is an annotation of the
//! pod, which the downward API mounts as a file. No other Kubernetes object is needed.

use std::{collections::BTreeMap, fs};

use engine::BadConfiguration;

/// The flags whose value is a path.
const FILE_FLAGS: [&str; 3] = ["body-file", "cacert", "trace"];

/// The directory of the files inside the pods.
pub(super) const INPUT_FOLDER: &str = "/input";

/// The maximum size of all files. Kubernetes allows 256 KiB of annotations, and uses some itself.
const MAX_BYTES: usize = 200 * 1024;

/// One flag of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFlag {
    /// The long name of the flag, without dashes.
    pub name: String,
    /// The value; `None` for a flag without a value.
    pub value: Option<String>,
}

/// The flags and files of the pods.
#[derive(Clone, Debug, Default)]
pub struct PodInput {
    /// The flags with their values. The path of a file is the path inside the pod.
    pub(super) arguments: Vec<String>,
    /// The contents of the files, by their names in [`INPUT_FOLDER`].
    pub(super) files: BTreeMap<String, String>,
}

impl PodInput {
    /// Reads the files that the flags name.
    ///
    /// # Errors
    /// Returns [`BadConfiguration`] if a file is unreadable or not text, or if the files are too large.
    pub fn read(flags: &[LoadFlag]) -> Result<Self, BadConfiguration> {
        let mut input = Self::default();
        for LoadFlag { name, value } in flags.iter().filter(|flag| flag.name != "threads") {
            input.arguments.push(match value {
                None => format!("--{name}"),
                Some(path) if FILE_FLAGS.contains(&name.as_str()) => {
                    let bad_file = |problem: &str| BadConfiguration(format!("{path}: {problem}"));
                    let content = fs::read(path).map_err(|error| bad_file(&error.to_string()))?;
                    let text = String::from_utf8(content)
                        .map_err(|_| bad_file("is not text: a Job can contain only text files"))?;
                    input.files.insert(name.clone(), text);
                    format!("--{name}={INPUT_FOLDER}/{name}")
                }
                Some(value) => format!("--{name}={value}"),
            });
        }
        let bytes: usize = input.files.values().map(String::len).sum();
        if bytes > MAX_BYTES {
            return Err(BadConfiguration(format!(
                "the files have {bytes} bytes; a Job can contain at most {MAX_BYTES}"
            )));
        }
        Ok(input)
    }
}
