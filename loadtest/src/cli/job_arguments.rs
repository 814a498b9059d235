//! The flags of `loadtest job`.

use std::time::Duration;

use clap::{ArgAction, ArgMatches, Args, FromArgMatches, error::ErrorKind, parser::ValueSource};
use engine::{BadConfiguration, MAX_STRIPES, units::parse_duration};
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
    // Must be the first field: clap removes the values that later fields parse.
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub forwarded: ForwardedFlags,

    /// Number of pods; each sends one stripe of the load
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=MAX_STRIPES), help_heading = "Job")]
    pub stripes: u64,

    /// Container image of this program for the pods
    #[arg(long, value_name = "NAME:TAG", help_heading = "Job")]
    pub image: String,

    /// Kubeconfig context (default: the current one)
    #[arg(long, value_name = "NAME", help_heading = "Job")]
    pub context: Option<String>,

    /// Namespace of the pods (default: the context's)
    #[arg(long, short = 'N', value_name = "NAME", help_heading = "Job")]
    pub namespace: Option<String>,

    /// Time for the pods to start before the first request is due
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_start_in, help_heading = "Job")]
    pub start_in: Duration,

    /// CPU request of each pod
    #[arg(long, value_name = "QUANTITY", default_value = "100m", value_parser = parse_cpu, help_heading = "Job")]
    pub cpu: Quantity,

    /// Secret of type kubernetes.io/tls with the certificate that the pods present, and its key; it replaces --cert and
    /// --key
    #[arg(long, value_name = "NAME", help_heading = "Job")]
    pub cert_secret: Option<String>,

    /// Keep the Job and its pods for inspection
    #[arg(long, help_heading = "Job")]
    pub keep: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub task: TaskArguments,
}

impl JobArguments {
    /// Returns the options of the Job and of its result.
    ///
    /// # Errors
    /// As for [`TaskArguments::plan_in_stripes`], when a report file cannot be opened, and for a client certificate in
    /// a file or without TLS.
    pub fn options(&self) -> anyhow::Result<(JobOptions, ResultOptions)> {
        if self.task.load.cert.is_some() {
            return Err(BadConfiguration::new(
                "--cert and --key do not reach the pods: files become annotations, which must not contain a private \
                 key; create a Secret with `kubectl create secret tls NAME --cert=FILE --key=FILE`, and pass its name \
                 with --cert-secret",
            )
            .into());
        }
        let plan = self.task.plan_in_stripes(self.stripes)?;
        if self.cert_secret.is_some() && !plan.mix.needs_tls() {
            return Err(BadConfiguration::new("--cert-secret needs a URL with https://").into());
        }
        let job = JobOptions {
            plan,
            url: self.task.url.clone(),
            flags: self.forwarded.0.clone(),
            stripes: self.stripes,
            image: self.image.clone(),
            context: self.context.clone(),
            namespace: self.namespace.clone(),
            start_in: self.start_in,
            cpu: self.cpu.clone(),
            cert_secret: self.cert_secret.clone(),
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
    let is_positive = quantity::number(&quantity).is_some_and(|number| number > 0.0);
    is_positive
        .then_some(quantity)
        .ok_or_else(|| "write a Kubernetes quantity above 0, for example 500m or 2".to_owned())
}

/// The load flags from the command line, which the command passes on to `loadtest run` in the pods.
#[derive(Clone, Debug, Default)]
pub struct ForwardedFlags(pub Vec<LoadFlag>);

/// Returns a command with the flags that a stripe needs: the schedule and the load.
fn forwarded_flags() -> clap::Command {
    LoadArguments::augment_args(ScheduleArguments::augment_args(clap::Command::new("run")))
}

impl FromArgMatches for ForwardedFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = forwarded_flags();
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
                    clap::Error::raw(ErrorKind::InvalidUtf8, format!("--{flag} is not valid UTF-8\n"))
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

/// Adds no flags: the values come from the flags of the other fields.
impl Args for ForwardedFlags {
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
    fn only_load_flags_are_forwarded_to_the_pods() {
        let line = "loadtest job http://h/ --stripes 3 --image i:1 -q 90/1s -z 10s -H a:b -H c:d --http2 -o x.json \
                    --threshold p(99)<5 --max-failed 3 -N load";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Job(job) = cli.command else {
            panic!("{cli:?}")
        };
        let mut flags: Vec<_> = job
            .forwarded
            .0
            .iter()
            .map(|given| match &given.value {
                Some(value) => format!("{}={value}", given.name),
                None => given.name.clone(),
            })
            .collect();
        flags.sort_unstable();
        assert_eq!(
            flags,
            ["duration=10s", "header=a:b", "header=c:d", "http2", "rate=90/1s"]
        );
        assert_eq!(
            job.task.load.header.len(),
            2,
            "the flags also apply to the command itself"
        );
    }
}
