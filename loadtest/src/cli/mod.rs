//! The command line. Flags use the names of oha and hey where these tools have the flag.

mod capacity_arguments;
mod cluster_arguments;
mod compare_arguments;
mod job_arguments;
mod load_arguments;
mod merge_arguments;
mod nodes_arguments;
mod report_arguments;
mod result_arguments;
mod run_arguments;
mod scale_arguments;
mod schedule_arguments;
mod schema_arguments;
mod verify_arguments;
mod verify_build;
mod verify_check;
mod verify_probe;

use clap::{Parser, Subcommand};

pub use self::{
    capacity_arguments::CapacityArguments,
    cluster_arguments::{ChainArguments, ClusterArguments},
    compare_arguments::CompareArguments,
    job_arguments::{ForwardedFlags, JobArguments},
    load_arguments::LoadArguments,
    merge_arguments::MergeArguments,
    nodes_arguments::NodesArguments,
    report_arguments::ReportArguments,
    result_arguments::ResultArguments,
    run_arguments::{RunArguments, TaskArguments},
    scale_arguments::{HpaRate, ScaleArguments, TailRate},
    schedule_arguments::{ArrivalsArgument, ScheduleArguments, Spike, Stage},
    schema_arguments::{ReportKind, SchemaArguments},
    verify_arguments::{StageArgument, TestDeadline, VerifyArguments},
};

/// Sends requests open loop, proves that a cluster scales on them, and writes reports.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send requests on a schedule and measure each latency from the time the request was due
    Run(Box<RunArguments>),
    /// Send one load from several pods, as a Kubernetes Job, and report it as one run
    Job(Box<JobArguments>),
    /// Merge the results of `run --stripe` into one report
    Merge(MergeArguments),
    /// Find the highest rate that the targets hold within thresholds
    Capacity(Box<CapacityArguments>),
    /// Check the metrics chain from the pods to the HPA and name the first broken link
    Chain(ChainArguments),
    /// Send a load step that needs N replicas and prove that the cluster scales to N and back
    Scale(Box<ScaleArguments>),
    /// Run the tests of a stage of the delivery on a deployment, each with a deadline
    Verify(Box<VerifyArguments>),
    /// Compare runs before and after a change and report statistically significant differences
    Compare(CompareArguments),
    /// Print the JSON Schema of a report, which describes each field
    Schema(SchemaArguments),
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 an assertion of `scale`, a test of `verify` or a link of the metrics chain \
fails, or an unexpected error occurred; 99 too many requests failed, a threshold is broken, no rate is held, or a compared number is worse; \
104 wrong command or configuration; 105 interrupted; 106 invalid: the generator did not hold the rate, or a stripe was lost";
