//! The commands that people and CI run: `cargo xtask --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod cargo;
mod cluster;
mod demo;
mod images;
mod jenkinsfile;
mod lints;
mod nodes;
mod pipeline;
mod revision;
mod session;
mod suites;
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
    /// Deploy the pair on a cluster on this machine, scale it from 2 to 8 pods and back under load, and write a report
    Demo(demo::Options),
    /// Run all checks of CI, suite by suite
    Test(test::Options),
    /// Start, stop and inspect the testbed: a real Kubernetes on this machine
    #[command(subcommand)]
    Cluster(cluster::Action),
    /// Run the pair without a cluster on 127.0.0.1:5000 and :5001, until Ctrl-C
    Up,
    /// Run the benchmarks, each against a peer in the same run or against a bound. Runs all unless one is named
    Bench {
        #[command(subcommand)]
        benchmark: Option<bench::Benchmark>,
    },
    /// Build the images into target/images, and write their tags into the manifests
    Images(images::Options),
    /// Bring a release through its stages: build and push the images, deploy, verify, keep or roll back. Without --stage: build and local
    Pipeline(pipeline::Options),
    /// Run kubectl on the testbed: `cargo xtask k get pods -A`
    #[command(disable_help_flag = true)]
    K {
        /// The arguments of kubectl
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
        Task::Images(options) => images::run(&options),
        Task::Pipeline(options) => Ok(pipeline::run(&options)),
        Task::K { arguments } => cluster::kubectl(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
