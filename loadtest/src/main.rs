//! The command line program: parses, runs, and ends with an exit code that says why.

use std::process::ExitCode;

use clap::Parser;
use engine::BadConfiguration;
use loadtest::{
    cli::{Cli, Command},
    commands::{chain, compare, job, merge, run, scale, schema},
    exit::Exit,
    signals,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::BadConfiguration
            } else {
                Exit::Ok
            };
            drop(error.print());
            return exit.into();
        }
    };
    match start(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            let expected = error.is::<BadConfiguration>();
            (if expected {
                Exit::BadConfiguration
            } else {
                Exit::AssertionFailed
            })
            .into()
        }
    }
}

/// The load has threads of its own; one more is enough for the display and the cluster.
#[tokio::main(flavor = "current_thread")]
async fn start(cli: &Cli) -> anyhow::Result<Exit> {
    let interrupt = signals::listen()?;
    match &cli.command {
        Command::Run(arguments) => run::run(arguments.options()?, interrupt).await,
        Command::Job(arguments) => {
            let (job, result) = arguments.options()?;
            job::run(job, result, interrupt).await
        }
        Command::Merge(arguments) => merge::run(arguments.options()?),
        Command::Chain(arguments) => chain::run(arguments.options(), interrupt).await,
        Command::Scale(arguments) => Box::pin(scale::run(arguments.options()?, interrupt)).await,
        Command::Compare(arguments) => compare::run(&arguments.options()),
        Command::Schema(arguments) => schema::run(arguments.report.into()),
    }
}
