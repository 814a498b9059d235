//! `loadtest merge`: merges the results of `loadtest run --stripe` into one report.

use std::{fs, path::Path};

use engine::{BadConfiguration, CollectedStripe, StripeResult, Threshold, merge};

use super::run::conclude;
use crate::{exit::Exit, options::MergeOptions};

/// Runs the command. A stripe without a file makes the run invalid.
///
/// # Errors
/// [`BadConfiguration`] when a file contains no stripe result, or when the results belong to different loads.
pub fn run(options: MergeOptions) -> anyhow::Result<Exit> {
    let mut results = Vec::new();
    for path in &options.files {
        results.push((path.display().to_string(), read(path)?));
    }
    let (first, load) = match results.first() {
        Some((name, result)) => (name.clone(), result.load.clone()),
        None => return Err(BadConfiguration::new("no file is given").into()),
    };
    Threshold::check_targets(&options.result.thresholds, &load.targets)?;
    let mut parts: Vec<_> = (0..load.stripes).map(|_| None).collect();
    for (name, result) in results {
        if let Some(difference) = load.differs_from(&result.load) {
            return Err(BadConfiguration(format!(
                "{name} and {first} are results of different loads: {difference}"
            ))
            .into());
        }
        let index = usize::try_from(result.stripe).ok();
        let Some(part @ None) = index.and_then(|index| parts.get_mut(index)) else {
            let duplicate = format!("{name} is a second result of stripe {}", result.stripe);
            return Err(BadConfiguration(duplicate).into());
        };
        *part = Some(CollectedStripe {
            name,
            result: Ok(result),
        });
    }
    let missing = || CollectedStripe {
        name: "no file".to_owned(),
        result: Err("its result file is missing".to_owned()),
    };
    let parts = parts.into_iter().map(|part| part.unwrap_or_else(missing));
    conclude(&merge(&load, parts.collect(), None), options.result, false)
}

fn read(path: &Path) -> Result<StripeResult, BadConfiguration> {
    let bad = |why: &str| BadConfiguration(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| bad(&error.to_string()))?;
    StripeResult::find(&text)
        .ok_or_else(|| bad("contains no result of `loadtest run --stripe`"))?
        .map_err(|why| bad(&why))
}
