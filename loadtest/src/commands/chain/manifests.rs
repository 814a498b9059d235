//! `loadtest chain --manifests`: reads rendered manifests and diagnoses their chains without a cluster.

use std::{fs, io, path::Path};

use chain_check::{Input, check, objects, parse};
use engine::BadConfiguration;
use wiring::diagnosis::Diagnosis;

use crate::options::ManifestOptions;

/// Diagnoses the chain of each HPA of the manifests, or of the named ones.
///
/// # Errors
/// [`BadConfiguration`] when a file cannot be read or parsed, or when the manifests do not contain an HPA.
pub(super) fn diagnose(options: &ManifestOptions, hpas: &[String]) -> anyhow::Result<Vec<Diagnosis>> {
    let paths = options.files.iter().chain(&options.metrics);
    if paths.filter(|path| is_stdin(path)).count() > 1 {
        return Err(BadConfiguration::new("only one file can be - (standard input)").into());
    }
    let mut found = Vec::new();
    for path in &options.files {
        let text = read(path)?;
        found.extend(parse(&text).map_err(|error| {
            BadConfiguration::new(format!("{} is not valid YAML: {error}", path.display()))
        })?);
    }
    let metrics = options.metrics.as_deref().map(read).transpose()?;
    let mut input = Input::new(found, &options.namespace, metrics.as_deref());
    let names: Vec<String> = objects::of_kind(&input.objects, "HorizontalPodAutoscaler")
        .map(|hpa| objects::name(hpa).to_owned())
        .collect();
    if names.is_empty() {
        return Err(BadConfiguration::new(
            "the manifests contain no HorizontalPodAutoscaler: add the file that defines it (with KEDA, the output of \
             kubectl get hpa -o yaml)",
        )
        .into());
    }
    if let Some(missing) = hpas.iter().find(|hpa| !names.contains(hpa)) {
        let names = names.join(", ");
        return Err(
            BadConfiguration::new(format!("the manifests contain no HPA {missing}, only {names}")).into(),
        );
    }
    if !hpas.is_empty() {
        input.objects.retain(|object| {
            objects::kind(object) != "HorizontalPodAutoscaler"
                || hpas.iter().any(|hpa| hpa == objects::name(object))
        });
    }
    Ok(check(&input))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn read(path: impl AsRef<Path>) -> anyhow::Result<String> {
    let path = path.as_ref();
    let text = if is_stdin(path) {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(path)
    };
    let text =
        text.map_err(|error| BadConfiguration::new(format!("{} cannot be read: {error}", path.display())))?;
    Ok(text)
}
