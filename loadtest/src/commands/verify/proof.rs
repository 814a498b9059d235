//! The tests that need load: one proof of scaling, as `loadtest scale` sends it, judges all of them.

use anyhow::Context;
use engine::Interrupt;
use prover::{
    cluster::Cluster,
    prove::ScaleReport,
    verify::{Judgement, Outcome, Reader, Reading, Test, nodes_scale, pods_scale, response_time},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    commands::scale,
    options::{NodesOptions, ScaleOptions, Step},
    output,
    verify_options::VerifyOptions,
};

/// Runs the proof, and judges every selected test that needs it. Returns no outcome if the user stopped it, and the report of the
/// proof if it ran.
pub(super) async fn judge(
    options: &VerifyOptions,
    cluster: &Cluster,
    interrupt: &mut Interrupt,
) -> anyhow::Result<(Vec<Outcome>, Option<ScaleReport>)> {
    let scale_options = options.scale.as_ref().context("the proof is not configured")?;
    let tests: Vec<Test> = options
        .selected
        .iter()
        .copied()
        .filter(|test| test.needs_proof())
        .collect();
    // The tests share a proof, so the longest deadline holds.
    let limit = tests
        .iter()
        .map(|test| options.deadlines[test])
        .max()
        .unwrap_or_default();
    let started = Instant::now();
    let (nodes, problem) = plan_nodes(options, scale_options, cluster, &tests).await;
    let is_only_nodes = tests == [Test::NodesScale];
    let proven = if problem.is_some() && is_only_nodes {
        Err("the nodes cannot be judged".to_owned())
    } else {
        let deployment = deployment(scale_options, cluster).await;
        let reader = Reader::start(cluster, &scale_options.cluster.namespace, &deployment);
        let proven = prove(scale_options, nodes, interrupt, started + limit).await;
        proven.map(|report| (report, reader.finish()))
    };
    if interrupt.is_requested() {
        return Ok((Vec::new(), proven.ok().map(|(report, _)| report)));
    }
    let outcomes = tests.into_iter().map(|test| {
        let judgement = match (&problem, &proven) {
            (Some(problem), _) if test == Test::NodesScale => {
                Judgement::failed("the nodes cannot be judged", problem.clone())
            }
            (_, Ok((report, readings))) => judge_test(test, options, report, readings),
            (_, Err(error)) => Judgement::failed("the proof of scaling could not run", error.clone()),
        };
        Outcome::of(test, options.deadlines[&test], started.elapsed(), judgement)
    });
    let outcomes = outcomes.collect();
    Ok((outcomes, proven.ok().map(|(report, _)| report)))
}

/// Returns what the proof expects of the nodes, and why it cannot judge them.
async fn plan_nodes(
    options: &VerifyOptions,
    scale_options: &ScaleOptions,
    cluster: &Cluster,
    tests: &[Test],
) -> (Option<NodesOptions>, Option<String>) {
    if !tests.contains(&Test::NodesScale) {
        return (None, None);
    }
    let planned = scale::plan_nodes(scale_options.nodes, cluster, &options.cluster.namespace).await;
    match planned {
        Ok(_) => (scale_options.nodes, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    }
}

/// Returns the Deployment that the HPA scales. Without such an HPA, the proof says so.
async fn deployment(options: &ScaleOptions, cluster: &Cluster) -> String {
    let name = match &options.step {
        Step::Rate { hpa, .. } | Step::Replicas { hpa, .. } => hpa.clone(),
        Step::Mix { parts, .. } => parts.first().map(|(hpa, _)| hpa.clone()).unwrap_or_default(),
    };
    let found = cluster.hpa(&options.cluster.namespace, &name).await;
    found.ok().flatten().map_or(name, |hpa| hpa.target_name)
}

/// Runs the proof until its end, the deadline, or a signal.
async fn prove(
    options: &ScaleOptions,
    nodes: Option<NodesOptions>,
    interrupt: &mut Interrupt,
    deadline: Instant,
) -> Result<ScaleReport, String> {
    let stop = watch::Sender::new(false);
    let mut stopped = Interrupt::from_sender(&stop);
    // Boxed: the future is large.
    let mut proof = Box::pin(scale::prove(options, nodes, &mut stopped, output::print_status));
    let proven = loop {
        let is_running = !*stop.borrow();
        tokio::select! {
            proven = &mut proof => break proven,
            () = interrupt.requested(), if is_running => drop(stop.send_replace(true)),
            () = sleep_until(deadline), if is_running => drop(stop.send_replace(true)),
        }
    };
    match proven {
        Ok(Some(report)) => Ok(report),
        Ok(None) => Err("the deadline came before the load".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

fn judge_test(test: Test, options: &VerifyOptions, report: &ScaleReport, readings: &[Reading]) -> Judgement {
    let Some(run) = report.runs.first() else {
        return Judgement::failed("the proof of scaling could not run", "it has no run");
    };
    match test {
        Test::NodesScale => nodes_scale(run),
        Test::ResponseTime => response_time(run, readings, options.response_time),
        _ => pods_scale(run, readings),
    }
}
