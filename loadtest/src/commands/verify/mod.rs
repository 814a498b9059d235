//! `loadtest verify`: runs the tests of a stage of the delivery one after the other, each with a deadline, and writes the
//! reports. Progress goes to standard error.

mod proof;
mod suite;
mod text;

use std::time::Duration;

use anyhow::Context;
use engine::{Addresses, BadConfiguration, Interrupt, Plan, probe};
use jiff::Timestamp;
use prover::{
    cluster::Cluster,
    prove::ScaleReport,
    verify::{
        CanaryProbe, Judgement, Outcome, RegionCluster, SettleOptions, Test, VerifyReport, VerifyVerdict,
        apply, canary_load, canary_metrics, canary_starts, canary_urls, settle, spread, urls,
    },
};
use tokio::time::{Instant, timeout_at};

use self::suite::suite;
use self::text::{list, outcome_line, summary};
use super::scale;
use crate::{
    exit::Exit,
    output, page,
    verify_options::{VerifyCommand, VerifyOptions},
};

/// The time that a test gets after its deadline to say what it saw. A test looks at its deadline between two requests, which last
/// at most 10 s.
const GRACE: Duration = Duration::from_secs(15);

/// The time limit for a test connection before the load of `settled` or `canary-load`.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the command.
///
/// # Errors
/// [`BadConfiguration`] when a cluster cannot be reached; otherwise a failure of this program or machine.
pub async fn run(command: VerifyCommand, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let options = match command {
        VerifyCommand::List(stage) => {
            output::print(&list(stage))?;
            return Ok(Exit::Ok);
        }
        VerifyCommand::Nothing => return Ok(Exit::Ok),
        VerifyCommand::Run(options) => options,
    };
    let clusters = tokio::select! {
        clusters = Clusters::connect(&options) => clusters?,
        () = interrupt.requested() => return Ok(Exit::Interrupted),
    };
    let (started_at, started) = (Timestamp::now(), Instant::now());
    let (mut ran, mut proven) = (Vec::new(), None);
    for test in &options.selected {
        // One proof judges several tests.
        let is_judged = ran.iter().any(|outcome: &Outcome| outcome.name == *test);
        // A canary that failed must go. The other tests of a stage say what still works.
        let is_given_up = Test::CANARY.contains(test) && ran.iter().any(Outcome::is_failed);
        if is_judged || is_given_up || interrupt.is_requested() {
            continue;
        }
        output::status(format_args!("{test}: {}", test.checks()));
        let outcomes = if test.needs_proof() {
            let (outcomes, report) = proof::judge(&options, clusters.main()?, &mut interrupt).await?;
            proven = report;
            outcomes
        } else {
            tokio::select! {
                outcome = run_test(*test, &options, &clusters) => vec![outcome?],
                () = interrupt.requested() => Vec::new(),
            }
        };
        for outcome in &outcomes {
            let line = outcome_line(outcome);
            let token = options.client.token.as_ref();
            output::status(token.map_or_else(|| line.clone(), |token| token.redact(&line)));
        }
        ran.extend(outcomes);
    }
    let tests = if options.canary.canaries.is_empty() {
        &Test::ALL[..]
    } else {
        &Test::CANARY
    };
    let tests = tests.iter().map(|test| complete(*test, &options, &ran));
    let report = VerifyReport::of(
        options.stage,
        options.config.clone(),
        (started_at, started.elapsed().as_secs_f64()),
        tests.collect(),
        interrupt.is_requested(),
        options.client.token.as_ref(),
    );
    let verdict = report.verdict;
    write(*options, &report, proven.as_ref())?;
    Ok(match verdict {
        VerifyVerdict::Passed => Exit::Ok,
        VerifyVerdict::Failed => Exit::AssertionFailed,
        VerifyVerdict::Interrupted => Exit::Interrupted,
    })
}

/// Returns the outcome of a test, or why it did not run.
fn complete(test: Test, options: &VerifyOptions, ran: &[Outcome]) -> Outcome {
    if let Some(outcome) = ran.iter().find(|outcome| outcome.name == test) {
        return outcome.clone();
    }
    let is_of_canary = Test::CANARY.contains(&test);
    let reason = if !options.stage.tests().contains(&test) && !is_of_canary {
        format!("the stage {} does not contain it", options.stage.name())
    } else if let Some(failed) = ran.iter().find(|outcome| is_of_canary && outcome.is_failed()) {
        format!("{} failed before it", failed.name)
    } else if options.selected.contains(&test) {
        "a signal came before its end".to_owned()
    } else {
        "not selected (--only)".to_owned()
    };
    Outcome::skipped(test, options.deadlines[&test], reason)
}

fn write(options: VerifyOptions, report: &VerifyReport, proven: Option<&ScaleReport>) -> anyhow::Result<()> {
    if let (Some(scale), Some(proven)) = (options.scale, proven) {
        scale::write_files(scale.json, scale.html, proven)?;
    }
    if let Some(file) = options.json {
        let encoded = serde_json::to_string_pretty(report).context("encoding the report")?;
        file.write(format!("{encoded}\n").as_bytes())?;
    }
    let suite = suite(report);
    if let Some(file) = options.html {
        file.write(page::render_verify(report)?.as_bytes())?;
    }
    options.reports.write(&suite)?;
    output::print(&summary(report))
}

/// The clusters that the selected tests read: that of the context, and those of other regions.
struct Clusters(Vec<RegionCluster>);

impl Clusters {
    async fn connect(options: &VerifyOptions) -> anyhow::Result<Self> {
        let without = [Test::HelloHttp, Test::JobsHttps, Test::Urls];
        if options.selected.iter().all(|test| without.contains(test)) {
            return Ok(Self(Vec::new()));
        }
        let context = options.cluster.context.as_deref();
        let main = RegionCluster {
            context: context.unwrap_or("the current context").to_owned(),
            cluster: Cluster::connect(context).await?,
        };
        let mut clusters = vec![main];
        for context in &options.config.region_contexts {
            clusters.push(RegionCluster {
                context: context.clone(),
                cluster: Cluster::connect(Some(context)).await?,
            });
        }
        Ok(Self(clusters))
    }

    /// Returns the cluster of the context.
    fn main(&self) -> anyhow::Result<&Cluster> {
        let first = self.0.first().context("no selected test needs the cluster")?;
        Ok(&first.cluster)
    }
}

/// Runs a test that needs no proof.
async fn run_test(test: Test, options: &VerifyOptions, clusters: &Clusters) -> anyhow::Result<Outcome> {
    let limit = options.deadlines[&test];
    let started = Instant::now();
    let deadline = started + limit;
    let judgement = timeout_at(deadline + GRACE, judge(test, options, clusters, deadline)).await;
    let judgement = match judgement {
        Ok(judgement) => judgement?,
        Err(_) => Judgement::failed("the test did not end at its deadline", "a request did not end"),
    };
    Ok(Outcome::of(test, limit, started.elapsed(), judgement))
}

async fn judge(
    test: Test,
    options: &VerifyOptions,
    clusters: &Clusters,
    deadline: Instant,
) -> anyhow::Result<Judgement> {
    let client = &options.client;
    Ok(match test {
        Test::Apply => apply(clusters.main()?, &options.apply, deadline).await,
        Test::HelloHttp => client.check(&options.hello, deadline).await,
        Test::JobsHttps => client.check(&options.jobs, deadline).await,
        Test::Urls => urls(client, &options.urls, deadline).await,
        Test::Settled => settled(options, clusters.main()?, deadline).await?,
        Test::Spread => spread(&clusters.0, &options.spread, deadline).await,
        Test::CanaryStarts => canary_starts(clusters.main()?, &options.canary, deadline).await,
        Test::CanaryUrls => canary_urls(clusters.main()?, &options.canary, client, deadline).await,
        Test::CanaryMetrics => canary_metrics(clusters.main()?, &options.canary, client, deadline).await,
        Test::CanaryLoad => under_load(options, clusters.main()?, deadline).await?,
        Test::PodsScale | Test::NodesScale | Test::ResponseTime => {
            return Err(BadConfiguration::new(format!("{test} needs a proof")).into());
        }
    })
}

/// Returns the small load of a test, and the addresses of its host; or that it cannot be sent.
async fn small_load(options: &VerifyOptions) -> anyhow::Result<Result<(Plan, Addresses), Judgement>> {
    let plan = options.probe.clone().context("the load is not configured")?;
    Ok(match probe(&plan.mix, &plan.network, PROBE_TIMEOUT).await {
        Ok(addresses) => Ok((plan, addresses)),
        Err(error) => Err(Judgement::failed("the load cannot be sent", error.to_string())),
    })
}

async fn settled(options: &VerifyOptions, cluster: &Cluster, deadline: Instant) -> anyhow::Result<Judgement> {
    let (plan, addresses) = match small_load(options).await? {
        Ok(load) => load,
        Err(judgement) => return Ok(judgement),
    };
    let settle_options = SettleOptions {
        namespace: options.cluster.namespace.clone(),
        tolerance: options.tolerance,
        plan,
        addresses,
    };
    let mut show = |text: &str| output::status(text);
    settle(cluster, &settle_options, deadline, &mut show).await
}

async fn under_load(
    options: &VerifyOptions,
    cluster: &Cluster,
    deadline: Instant,
) -> anyhow::Result<Judgement> {
    let probe = match small_load(options).await? {
        Ok((plan, addresses)) => CanaryProbe { plan, addresses },
        Err(judgement) => return Ok(judgement),
    };
    let mut show = |text: &str| output::status(text);
    canary_load(cluster, &options.canary, &probe, deadline, &mut show).await
}
