//! The `loadtest` program: parses the command line, runs the command and returns its exit code.

use std::process::ExitCode;

use clap::Parser;
use engine::BadConfiguration;
use loadtest::{
    cli::{Cli, Command},
    commands::{capacity, chain, compare, job, merge, run, scale, schema, verify},
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
    match run_command(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            loadtest::output::status(format_args!("loadtest: {error:#}"));
            let exit = if error.is::<BadConfiguration>() {
                Exit::BadConfiguration
            } else {
                Exit::AssertionFailed
            };
            exit.into()
        }
    }
}

/// Runs the command on one thread, which handles the terminal and the cluster. The generator starts its own threads.
#[tokio::main(flavor = "current_thread")]
async fn run_command(cli: &Cli) -> anyhow::Result<Exit> {
    let interrupt = signals::listen()?;
    match &cli.command {
        Command::Run(arguments) => run::run(arguments.options()?, interrupt).await,
        Command::Job(arguments) => {
            let (job, result) = arguments.options()?;
            job::run(job, result, interrupt).await
        }
        Command::Merge(arguments) => merge::run(arguments.options()?),
        Command::Capacity(arguments) => capacity::run(arguments.options()?, interrupt).await,
        Command::Chain(arguments) => chain::run(arguments.options(), interrupt).await,
        Command::Scale(arguments) => Box::pin(scale::run(arguments.options()?, interrupt)).await,
        Command::Verify(arguments) => Box::pin(verify::run(arguments.options()?, interrupt)).await,
        Command::Compare(arguments) => compare::run(&arguments.options()),
        Command::Schema(arguments) => schema::run(arguments.report.into()),
    }
}
