//! `loadtest merge`: the results of stripes that were sent by hand, as one report.

use std::{fs, path::Path};

use engine::{BadConfiguration, CollectedStripe, StripeResult, merge};

use super::run::conclude;
use crate::{exit::Exit, options::MergeOptions};

/// Carries out the command.
///
/// # Errors
/// [`BadConfiguration`] when a file is no stripe's result, or they are not of one load.
pub fn run(options: MergeOptions) -> anyhow::Result<Exit> {
    let mut results = Vec::new();
    for path in &options.files {
        results.push((path.display().to_string(), read(path)?));
    }
    let (first, load) = match results.first() {
        Some((name, result)) => (name.clone(), result.load.clone()),
        None => return Err(BadConfiguration::new("there is no file").into()),
    };
    let mut parts: Vec<_> = (0..load.stripes).map(|_| None).collect();
    for (name, result) in results {
        if let Some(difference) = load.differs_from(&result.load) {
            return Err(
                BadConfiguration(format!("{name} is not of the load of {first}: {difference}")).into(),
            );
        }
        let place = usize::try_from(result.stripe).ok();
        let Some(place @ None) = place.and_then(|number| parts.get_mut(number)) else {
            let again = format!("{name} is stripe {} once more", result.stripe);
            return Err(BadConfiguration(again).into());
        };
        *place = Some(CollectedStripe {
            name,
            result: Ok(result),
        });
    }
    let missing = || CollectedStripe {
        name: "no file".to_owned(),
        result: Err("its result was not given".to_owned()),
    };
    let parts = parts.into_iter().map(|part| part.unwrap_or_else(missing));
    conclude(&merge(&load, parts.collect(), None), options.result, false)
}

fn read(path: &Path) -> Result<StripeResult, BadConfiguration> {
    let bad = |why: &str| BadConfiguration(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| bad(&error.to_string()))?;
    StripeResult::find(&text)
        .ok_or_else(|| bad("holds no result of `loadtest run --stripe`"))?
        .map_err(|why| bad(&why))
}
