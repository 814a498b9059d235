//! The flags of `loadtest run`, most of which `loadtest job` has, too.

use clap::Args;
use engine::{BadConfiguration, Plan, Stripe};
use jiff::Timestamp;

use super::{
    load_arguments::LoadArguments, result_arguments::ResultArguments, schedule_arguments::ScheduleArguments,
};
use crate::options::RunOptions;

/// Flags of `loadtest run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub task: TaskArguments,

    /// Send one part of the load, of which other processes send the others: 0/3, 1/3 and 2/3, with the same flags but for
    /// this one. Prints the part's result for `loadtest merge`, or writes it to the --output
    #[arg(
        long,
        value_name = "NUMBER/ALL",
        requires = "start_at",
        conflicts_with_all = ["max_failed", "threshold", "html", "json", "junit", "markdown"],
        help_heading = "Stripes"
    )]
    pub stripe: Option<Stripe>,

    /// When the first request of all parts is due, by clocks that agree: 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", requires = "stripe", help_heading = "Stripes")]
    pub start_at: Option<Timestamp>,
}

impl RunArguments {
    /// The options of the command.
    ///
    /// # Errors
    /// As for [`TaskArguments::plan`], and when a file cannot be written.
    pub fn options(&self) -> anyhow::Result<RunOptions> {
        let stripe = self.stripe.zip(self.start_at);
        Ok(RunOptions {
            plan: match stripe {
                Some((stripe, _)) => self.task.plan_in_stripes(stripe.count)?,
                None => self.task.plan()?,
            },
            stripe,
            result: self.task.result.options(self.task.load.max_lag)?,
        })
    }
}

/// What is sent, and what must come of it.
#[derive(Debug, Args)]
pub struct TaskArguments {
    /// Where requests go, as in `http://127.0.0.1:5000/hello`
    #[arg(
        value_name = "URL",
        required_unless_present = "target",
        conflicts_with = "target"
    )]
    pub url: Option<String>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub result: ResultArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub schedule: ScheduleArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub load: LoadArguments,
}

impl TaskArguments {
    /// What to send.
    ///
    /// # Errors
    /// [`BadConfiguration`] without a usable target, or a schedule.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let mix = self.load.mix(self.url.as_deref())?;
        let network = self.load.network(&mix)?;
        Ok(self.load.plan(mix, network, self.schedule.schedule()?))
    }

    /// The same for a load that is sent in `stripes`. How many threads each has must not depend on its machine: which
    /// arrivals are whose follows from it.
    ///
    /// # Errors
    /// As for [`TaskArguments::plan`], and when there are less connections than threads.
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
