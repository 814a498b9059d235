//! `loadtest chain`: waits until the metrics chain of each HPA is whole and reports the first broken link. Also checks
//! manifests without a cluster.

mod manifests;

use std::time::Duration;

use engine::Interrupt;
use prover::{chain::wait_until_healthy, cluster::Cluster};
use schemars::JsonSchema;
use serde::Serialize;
use wiring::diagnosis::{Diagnosis, LinkReport, LinkState};

use crate::{
    exit::Exit,
    options::{ChainCommandOptions, ChainSource, ClusterOptions},
    output,
};

/// The version of the JSON format of [`ChainReport`]. It increases when a field is removed or changes its meaning.
const SCHEMA: &str = "loadtest.chain/v1";

/// The JSON report of the command.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChainReport {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// Whether every checked link of every HPA works. A link with a warning works.
    pub whole: bool,
    /// The diagnosis of each HPA's chain.
    pub chains: Vec<Diagnosis>,
}

/// Runs the command.
///
/// # Errors
/// [`engine::BadConfiguration`] when the cluster cannot be reached, or when a file cannot be used.
pub async fn run(options: ChainCommandOptions, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let chains = match &options.source {
        ChainSource::Manifests(manifests) => {
            let chains = manifests::diagnose(manifests, &options.hpas)?;
            if !options.json {
                chains
                    .iter()
                    .try_for_each(|chain| output::print(&render(chain)))?;
            }
            chains
        }
        ChainSource::Cluster { cluster, wait } => tokio::select! {
            chains = diagnose(cluster, *wait, &options) => chains?,
            () = interrupt.requested() => return Ok(Exit::Interrupted),
        },
    };
    let whole = chains.iter().all(Diagnosis::is_healthy);
    if options.json {
        let report = ChainReport {
            schema: SCHEMA,
            whole,
            chains,
        };
        output::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    }
    Ok(if whole { Exit::Ok } else { Exit::AssertionFailed })
}

async fn diagnose(
    names: &ClusterOptions,
    wait: Duration,
    options: &ChainCommandOptions,
) -> anyhow::Result<Vec<Diagnosis>> {
    let cluster = Cluster::connect(names.context.as_deref()).await?;
    let mut chains = Vec::new();
    for hpa in &options.hpas {
        let chain = names.chain(hpa);
        let diagnosis = wait_until_healthy(&cluster, &chain, wait, |missing| output::status(missing)).await;
        if !options.json {
            output::print(&render(&diagnosis))?;
        }
        chains.push(diagnosis);
    }
    Ok(chains)
}

/// Formats a diagnosis as text, one line per link and one per warning.
pub(crate) fn render(diagnosis: &Diagnosis) -> String {
    let mut lines = vec![format!("metrics chain of {}", diagnosis.hpa)];
    for link in &diagnosis.links {
        let state = match link.state {
            LinkState::Ok => "ok     ",
            LinkState::Broken => "BROKEN ",
            LinkState::Unknown => "?      ",
            LinkState::NotChecked => "-      ",
        };
        lines.push(format!("  {state}{:<18} {}", link.link, link.detail));
        lines.extend(warning_lines(link));
    }
    if let Some(cause) = diagnosis.root_cause() {
        lines.push(format!("first broken link: {}: {}", cause.link, cause.detail));
        lines.extend(cause.look_at.iter().map(|look_at| format!("  check: {look_at}")));
    }
    lines.join("\n") + "\n"
}

/// Formats the warnings of a link, one line each.
pub(crate) fn warning_lines(link: &LinkReport) -> impl Iterator<Item = String> {
    let warnings = link.warnings.iter();
    warnings.map(|warning| format!("  WARN   {:<18} {warning}", link.link))
}
