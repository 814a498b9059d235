//! The commands that people and CI run: `cargo xtask --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod cargo;
mod cluster;
mod demo;
mod images;
mod test;
mod up;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// A cluster on this machine, the pair on it, load: pods seen going from 2 to 8 and back, with a report
    Demo(demo::Options),
    /// Everything that CI checks
    Test(test::Options),
    /// The testbed: a real Kubernetes on this machine
    #[command(subcommand)]
    Cluster(cluster::Action),
    /// The pair alone on 127.0.0.1:5000 and :5001, without a cluster, until Ctrl-C
    Up,
    /// The benchmarks, each beside a peer in the same run or against a bound; all of them unless one is named
    Bench {
        #[command(subcommand)]
        benchmark: Option<bench::Benchmark>,
    },
    /// Write the images of both services, and the load generator's, to target/images, and the tags into the manifests
    Images,
    /// kubectl on the testbed: `cargo xtask k get pods -A`
    #[command(disable_help_flag = true)]
    K {
        /// kubectl's arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Cluster(action) => cluster::run(action),
        Task::Up => up::run(),
        Task::Bench { benchmark } => bench::run(benchmark),
        Task::Images => images::run().map(|()| ExitCode::SUCCESS),
        Task::K { arguments } => cluster::kubectl(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
