//! The flags of `run` that pods are called with, and the files that some of them name. A file travels as an annotation
//! of the pod, which Kubernetes shows to the pod as a file: nothing has to be made for it, and removed after.

use std::{collections::BTreeMap, fs};

use engine::BadConfiguration;

/// Flags that name a file.
const FLAGS: [&str; 3] = ["body-file", "cacert", "trace"];

/// Where pods have the files.
pub(super) const FOLDER: &str = "/input";

/// What annotations may hold is 256 KiB; some are Kubernetes' own.
const MOST_BYTES: usize = 200 * 1024;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The flag's long name.
    pub flag: String,
    /// What was given to it; nothing for a flag that is only there.
    pub value: Option<String>,
}

/// What the pods get.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Flags and their values; where a value was a file, it is that of the pod.
    pub(super) arguments: Vec<String>,
    /// The files by their names in [`FOLDER`].
    pub(super) contents: BTreeMap<String, String>,
}

impl Files {
    /// Reads the files of the flags.
    ///
    /// # Errors
    /// [`BadConfiguration`] when a file cannot be read, is not text, or they are too large.
    pub fn of(words: &[Word]) -> Result<Self, BadConfiguration> {
        let mut files = Self::default();
        for Word { flag, value } in words.iter().filter(|word| word.flag != "threads") {
            files.arguments.push(match value {
                None => format!("--{flag}"),
                Some(path) if FLAGS.contains(&flag.as_str()) => {
                    let wrong = |why: &str| BadConfiguration(format!("{path}: {why}"));
                    let content = fs::read(path).map_err(|error| wrong(&error.to_string()))?;
                    let text = String::from_utf8(content)
                        .map_err(|_| wrong("is not text, which is all that a Job can carry"))?;
                    files.contents.insert(flag.clone(), text);
                    format!("--{flag}={FOLDER}/{flag}")
                }
                Some(value) => format!("--{flag}={value}"),
            });
        }
        let bytes: usize = files.contents.values().map(String::len).sum();
        if bytes > MOST_BYTES {
            return Err(BadConfiguration(format!(
                "the files have {bytes} bytes, and a Job carries at most {MOST_BYTES}"
            )));
        }
        Ok(files)
    }
}
