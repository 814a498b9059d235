//! The nodes of a run as text: what became of each node, and who served the requests.

use engine::units::to_f64;
use prover::prove::{NodeLife, NodesRecord, ScaleRun, ServedByNode};

/// The number of nodes that the text lists. The JSON has all.
const LISTED: usize = 20;

/// Appends the tables of a run; nothing without `--nodes`.
pub(super) fn append(run: &ScaleRun, lines: &mut Vec<String>) {
    let Some(record) = &run.timeline.nodes else { return };
    lines.push(format!(
        "nodes: {} (in seconds since the load began)",
        record.path()
    ));
    let row = |name: &str, zone: &str, kind: &str, cells: [String; 6]| {
        let cells = cells.map(|cell| format!("{cell:>11}")).concat();
        format!("  {name:<24} {zone:<14} {kind:<12}{cells}")
    };
    lines.push(row("node", "zone", "type", NodeLife::STAGES.map(str::to_owned)));
    for node in record.nodes.iter().take(LISTED) {
        lines.push(row(
            &node.name,
            node.zone.as_deref().unwrap_or("-"),
            node.instance_type.as_deref().unwrap_or("-"),
            node.cells(),
        ));
    }
    push_more(record.nodes.len(), lines);
    lines.push("served, by zone and node".to_owned());
    for served in run.served.iter().take(LISTED) {
        lines.push(format!("  {}", describe(served, &run.served)));
    }
    push_more(run.served.len(), lines);
}

fn push_more(count: usize, lines: &mut Vec<String>) {
    if count > LISTED {
        lines.push(format!("  and {} more", count - LISTED));
    }
}

/// Describes what a node served.
fn describe(served: &ServedByNode, all: &[ServedByNode]) -> String {
    let total: f64 = all.iter().filter_map(ServedByNode::of_step).sum();
    let step = match served.of_step() {
        Some(count) if total > 0.0 => format!("{count:.0} of the step ({:.1} %)", count / total * 100.0),
        _ => "an unknown number of the step".to_owned(),
    };
    let tail = served
        .tail
        .map_or(String::new(), |tail| format!(", {tail} of the tail"));
    format!(
        "{}: {} ({}, pods: {}): {step}{tail}",
        served.zone.as_deref().unwrap_or("no zone"),
        served.node,
        served.age(),
        served.pods
    )
}

/// Returns the facts about the nodes of a run: the numbers, and the requests of the step by zone.
pub(super) fn facts(run: &ScaleRun) -> Vec<(&'static str, String)> {
    let Some(record) = &run.timeline.nodes else {
        return Vec::new();
    };
    let mut facts = vec![("nodes", describe_numbers(record))];
    let mut zones: Vec<&Option<String>> = run.served.iter().map(|served| &served.zone).collect();
    zones.dedup();
    for zone in zones {
        let rows = || run.served.iter().filter(|served| served.zone == *zone);
        let step = total(rows().map(ServedByNode::of_step));
        let tail = total(rows().map(|served| served.tail.map(to_f64)));
        let zone = zone.as_deref().unwrap_or("no zone");
        let text = format!(
            "{zone}: nodes: {}, requests of the step: {step}, of the tail: {tail}",
            rows().count()
        );
        facts.push(("served", text));
    }
    facts
}

/// Describes the sum of the known counts.
fn total(counts: impl Iterator<Item = Option<f64>>) -> String {
    let sum = counts.flatten().reduce(|one, other| one + other);
    sum.map_or("unknown".to_owned(), |sum| format!("{sum:.0}"))
}

fn describe_numbers(record: &NodesRecord) -> String {
    let zones = record
        .ready_by_zone
        .iter()
        .map(|(zone, count)| format!("{zone} {count}"));
    let zones: Vec<String> = zones.collect();
    format!("{}; at the end of the step: {}", record.path(), zones.join(", "))
}
