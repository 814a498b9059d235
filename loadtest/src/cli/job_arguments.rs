//! The flags of `loadtest job`.

use std::time::Duration;

use clap::{ArgAction, ArgMatches, Args, FromArgMatches, error::ErrorKind, parser::ValueSource};
use engine::{MAX_STRIPES, units::parse_duration};
use prover::{
    cluster::quantity::{self, Quantity},
    job::{JobOptions, LoadFlag},
};

use super::{
    load_arguments::LoadArguments, run_arguments::TaskArguments, schedule_arguments::ScheduleArguments,
};
use crate::options::ResultOptions;

/// Flags of `loadtest job`.
#[derive(Debug, Args)]
pub struct JobArguments {
    // First: what the fields after it take from the command line is gone.
    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub words: Words,

    /// How many pods send the load together, a stripe each
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=MAX_STRIPES), help_heading = "Job")]
    pub stripes: u64,

    /// The image of this program that the pods run
    #[arg(long, value_name = "NAME:TAG", help_heading = "Job")]
    pub image: String,

    /// The kubeconfig's context (default: its current one)
    #[arg(long, value_name = "NAME", help_heading = "Job")]
    pub context: Option<String>,

    /// The namespace that the pods run in (default: the context's)
    #[arg(long, short = 'N', value_name = "NAME", help_heading = "Job")]
    pub namespace: Option<String>,

    /// How long the pods have to come up before the first request is due
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_start_in, help_heading = "Job")]
    pub start_in: Duration,

    /// The CPU that each pod asks its node for
    #[arg(long, value_name = "QUANTITY", default_value = "100m", value_parser = parse_cpu, help_heading = "Job")]
    pub cpu: Quantity,

    /// Leave the Job and its pods there, to look at
    #[arg(long, help_heading = "Job")]
    pub keep: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub task: TaskArguments,
}

impl JobArguments {
    /// The options of the Job, and of its result.
    ///
    /// # Errors
    /// As for [`TaskArguments::plan_in_stripes`], and when a file cannot be written.
    pub fn options(&self) -> anyhow::Result<(JobOptions, ResultOptions)> {
        let job = JobOptions {
            plan: self.task.plan_in_stripes(self.stripes)?,
            url: self.task.url.clone(),
            flags: self.words.0.clone(),
            stripes: self.stripes,
            image: self.image.clone(),
            context: self.context.clone(),
            namespace: self.namespace.clone(),
            start_in: self.start_in,
            cpu: self.cpu.clone(),
            keep: self.keep,
        };
        Ok((job, self.task.result.options(self.task.load.max_lag)?))
    }
}

fn parse_start_in(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_hours(24);
    let start_in = parse_duration(text)?;
    if start_in > MOST {
        return Err("at most a day".to_owned());
    }
    Ok(start_in)
}

fn parse_cpu(text: &str) -> Result<Quantity, String> {
    let quantity = Quantity(text.to_owned());
    let is_one = quantity::number(&quantity).is_some_and(|number| number > 0.0);
    is_one
        .then_some(quantity)
        .ok_or_else(|| "write a quantity of Kubernetes, as in 500m or 2".to_owned())
}

/// The flags of `run` as they were given, for `run` to be called with them elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Words(pub Vec<LoadFlag>);

/// Of how a load is sent: a stripe needs no more.
fn forwarded() -> clap::Command {
    LoadArguments::augment_args(ScheduleArguments::augment_args(clap::Command::new("run")))
}

impl FromArgMatches for Words {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = forwarded();
        let mut words = Vec::new();
        let given = |id: &clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        for argument in flags.get_arguments().filter(|argument| given(argument.get_id())) {
            let flag = argument.get_long().unwrap_or_default().to_owned();
            if matches!(argument.get_action(), ArgAction::SetTrue) {
                words.push(LoadFlag {
                    name: flag,
                    value: None,
                });
                continue;
            }
            for value in matches.get_raw(argument.get_id().as_str()).into_iter().flatten() {
                let value = value.to_str().ok_or_else(|| {
                    clap::Error::raw(ErrorKind::InvalidUtf8, format!("--{flag} is no text\n"))
                })?;
                words.push(LoadFlag {
                    name: flag.clone(),
                    value: Some(value.to_owned()),
                });
            }
        }
        Ok(Self(words))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// None of its own.
impl Args for Words {
    fn augment_args(command: clap::Command) -> clap::Command {
        command
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};

    #[test]
    fn the_flags_of_a_load_are_handed_on_and_no_others() {
        let line = "loadtest job http://h/ --stripes 3 --image i:1 -q 90/1s -z 10s -H a:b -H c:d --http2 -o x.json \
                    --threshold p(99)<5 --max-failed 3 -N load";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Job(job) = cli.command else {
            panic!("{cli:?}")
        };
        let mut words: Vec<_> = job
            .words
            .0
            .iter()
            .map(|word| match &word.value {
                Some(value) => format!("{}={value}", word.name),
                None => word.name.clone(),
            })
            .collect();
        words.sort_unstable();
        assert_eq!(
            words,
            ["duration=10s", "header=a:b", "header=c:d", "http2", "rate=90/1s"]
        );
        assert_eq!(job.task.load.header.len(), 2, "they still count here");
    }
}
