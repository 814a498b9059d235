//! The command: waits for the chain to become whole, and says what is still missing.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    diagnosis::diagnose,
    evidence::{ChainOptions, gather},
    links::{Diagnosis, State},
};
use crate::{cli::ChainArguments, cluster::Cluster, exit::Exit, output, signals::Interrupt};

/// Between two looks at a chain that is not whole yet.
const PAUSE: Duration = Duration::from_secs(1);

/// The version of [`ChainReport`]'s JSON form. Grows when a field changes its meaning or goes, not when one joins.
const SCHEMA: &str = "loadtest.chain/v1";

/// The JSON of the command.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChainReport {
    /// The version of this form.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// Whether every link of every HPA holds.
    pub whole: bool,
    /// One for each HPA.
    pub chains: Vec<Diagnosis>,
}

/// Carries out the command.
///
/// # Errors
/// [`crate::exit::BadConfiguration`] without a cluster.
pub async fn run(arguments: &ChainArguments, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let work = async {
        let cluster = Cluster::connect(arguments.cluster.context.as_deref()).await?;
        let mut chains = Vec::new();
        for hpa in &arguments.hpa {
            let diagnosis = wait_until_whole(&cluster, &arguments.cluster.chain(hpa), arguments.wait).await;
            if !arguments.json {
                output::print(&render(&diagnosis))?;
            }
            chains.push(diagnosis);
        }
        anyhow::Ok(chains)
    };
    let chains = tokio::select! {
        chains = work => chains?,
        () = interrupt.requested() => return Ok(Exit::Interrupted),
    };
    let whole = chains.iter().all(Diagnosis::is_whole);
    if arguments.json {
        let report = ChainReport {
            schema: SCHEMA,
            whole,
            chains,
        };
        output::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    }
    Ok(if whole { Exit::Ok } else { Exit::AssertionFailed })
}

/// Looks until every link holds, for `patience` at most. What is missing goes to standard error whenever it changes.
pub async fn wait_until_whole(cluster: &Cluster, options: &ChainOptions, patience: Duration) -> Diagnosis {
    let deadline = Instant::now() + patience;
    let mut said = String::new();
    loop {
        let diagnosis = diagnose(&gather(cluster, options).await, options);
        if diagnosis.is_whole() || Instant::now() >= deadline {
            return diagnosis;
        }
        if let Some(cause) = diagnosis.root_cause() {
            let missing = format!("{}: waiting for {}: {}", options.hpa, cause.link, cause.detail);
            if missing != said {
                eprintln!("{missing}");
                said = missing;
            }
        }
        sleep(PAUSE).await;
    }
}

/// The diagnosis as lines for a person.
pub(crate) fn render(diagnosis: &Diagnosis) -> String {
    let mut lines = vec![format!("metrics chain of {}", diagnosis.hpa)];
    for link in &diagnosis.links {
        let state = match link.state {
            State::Ok => "ok     ",
            State::Broken => "BROKEN ",
            State::Unknown => "?      ",
        };
        lines.push(format!("  {state}{:<18} {}", link.link, link.detail));
    }
    if let Some(cause) = diagnosis.root_cause() {
        lines.push(format!("first broken link: {}: {}", cause.link, cause.detail));
        lines.extend(
            cause
                .look_at
                .iter()
                .map(|look_at| format!("  look at: {look_at}")),
        );
    }
    lines.join("\n") + "\n"
}
