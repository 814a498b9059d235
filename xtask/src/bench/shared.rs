//! Helpers that several benchmarks use.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use testbed::paths;

/// Creates and returns the folder for the files of the benchmarks.
pub(super) fn directory() -> Result<PathBuf> {
    let directory = paths::target().join("bench");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(directory)
}

/// Returns the median; of two middle values the larger one. Sorts the values.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
