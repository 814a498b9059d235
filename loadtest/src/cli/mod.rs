//! The command line. What the commands share lives here, in the terms of oha and hey where those have one.

mod cluster_arguments;
mod compare_arguments;
mod job_arguments;
mod load_arguments;
mod merge_arguments;
mod report_arguments;
mod result_arguments;
mod run_arguments;
mod scale_arguments;
mod schedule_arguments;
mod schema_arguments;

use clap::{Parser, Subcommand};

pub use self::{
    cluster_arguments::{ChainArguments, ClusterArguments},
    compare_arguments::CompareArguments,
    job_arguments::{JobArguments, Words},
    load_arguments::LoadArguments,
    merge_arguments::MergeArguments,
    report_arguments::ReportArguments,
    result_arguments::ResultArguments,
    run_arguments::{RunArguments, TaskArguments},
    scale_arguments::{HpaRate, ScaleArguments, TailRate},
    schedule_arguments::{ArrivalsArgument, ScheduleArguments, Spike, Stage},
    schema_arguments::{ReportKind, SchemaArguments},
};

/// Drives requests open loop, watches the cluster scale, writes the report.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send requests by a schedule, and measure from the moment each was due
    Run(Box<RunArguments>),
    /// Send a load from several pods of a cluster, as a Job of Kubernetes, and report it as one
    Job(Box<JobArguments>),
    /// Put the results of `run --stripe` together into one report
    Merge(MergeArguments),
    /// Follow the metrics from the pods to the HPA, and name the first link that does not hold
    Chain(ChainArguments),
    /// Send a step of load that needs N replicas, and prove that the cluster scales to them and back
    Scale(Box<ScaleArguments>),
    /// Say what changed between two runs, or several of each, as far as it can be told from chance
    Compare(CompareArguments),
    /// Say what the fields of a report mean: its JSON Schema
    Schema(SchemaArguments),
}

const EXIT_CODES: &str = "Exit codes: 0 ok; 1 the scaling or the metrics chain is not as it should be; 99 too many requests failed, a threshold broken, or what is compared worse; \
104 wrong command or configuration; 105 interrupted; 106 invalid: the rate could not be held, or a stripe was lost";
