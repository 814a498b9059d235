//! The flags of `loadtest run`. `loadtest job` shares most of them.

use std::time::Duration;

use clap::Args;
use engine::{BadConfiguration, Plan, Stripe, Threshold, units::parse_duration_or_zero};
use jiff::Timestamp;

use super::{
    load_arguments::LoadArguments, result_arguments::ResultArguments, schedule_arguments::ScheduleArguments,
};
use crate::options::RunOptions;

/// Flags of `loadtest run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub task: TaskArguments,

    /// End the load as soon as a threshold or --max-failed is broken, but not before this time (10s without a value). A
    /// threshold on the rate is checked only at the end
    #[arg(
        long,
        value_name = "AFTER",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "10s",
        value_parser = parse_duration_or_zero,
        conflicts_with = "stripe"
    )]
    pub abort_on_fail: Option<Duration>,

    /// Send one stripe of the load: 0/3, 1/3 or 2/3. Other processes send the other stripes with the same flags.
    /// Prints the result for `loadtest merge`, or writes it to --output
    #[arg(
        long,
        value_name = "NUMBER/COUNT",
        requires = "start_at",
        conflicts_with_all = ["max_failed", "threshold", "html", "json", "junit", "markdown"],
        help_heading = "Stripes"
    )]
    pub stripe: Option<Stripe>,

    /// Common start of all stripes, for machines with synchronised clocks: 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", requires = "stripe", help_heading = "Stripes")]
    pub start_at: Option<Timestamp>,
}

impl RunArguments {
    /// Returns the options of the command.
    ///
    /// # Errors
    /// As for [`TaskArguments::plan`], and when a report file cannot be opened.
    pub fn options(&self) -> anyhow::Result<RunOptions> {
        let stripe = self.stripe.zip(self.start_at);
        Ok(RunOptions {
            plan: match stripe {
                Some((stripe, _)) => self.task.plan_in_stripes(stripe.count)?,
                None => self.task.plan()?,
            },
            stripe,
            abort_after: self.abort_on_fail,
            result: self.task.result.options(self.task.load.max_lag)?,
        })
    }
}

/// The flags that `run` and `job` share: the load, the bounds and the reports.
#[derive(Debug, Args)]
pub struct TaskArguments {
    /// URL of the requests, for example `http://127.0.0.1:5000/hello`
    #[arg(
        value_name = "URL",
        required_unless_present = "target",
        conflicts_with = "target"
    )]
    pub url: Option<String>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub result: ResultArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub schedule: ScheduleArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub load: LoadArguments,
}

impl TaskArguments {
    /// Returns the plan of the load.
    ///
    /// # Errors
    /// [`BadConfiguration`] without a valid target or a valid schedule, or for a threshold that matches no target.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let mix = self.load.mix(self.url.as_deref())?;
        Threshold::check_targets(&self.result.threshold, mix.targets())?;
        let network = self.load.network(&mix)?;
        Ok(Plan {
            warm_up: self.schedule.warm_up.unwrap_or_default(),
            ..self.load.plan(mix, network, self.schedule.schedule()?)
        })
    }

    /// Returns the plan of a load in `stripes`, with 1 thread per stripe unless `--threads` sets the number.
    ///
    /// The default must not depend on the machine: the thread count decides which stripe sends which arrival.
    ///
    /// # Errors
    /// As for [`TaskArguments::plan`], and when there are fewer connections than threads.
    pub fn plan_in_stripes(&self, stripes: u64) -> anyhow::Result<Plan> {
        let plan = self.plan()?;
        let threads = self.load.threads.unwrap_or(1);
        let all = stripes.saturating_mul(threads as u64);
        if (plan.connections.min(plan.max_in_flight) as u64) < all {
            return Err(BadConfiguration::new(format!(
                "{stripes} stripes of {threads} threads need {all} --connections and as many --max-in-flight"
            ))
            .into());
        }
        Ok(Plan {
            threads: Some(threads),
            ..plan
        })
    }
}
