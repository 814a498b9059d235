//! Lanes of nodes over time, as HTML boxes, so that the text keeps its size on a narrow screen.

use engine::units::short;
use prover::prove::{NodeLife, PodPlacement, TimeEstimate};

use super::plot::ticks;

/// The height of the bar of a node with its margin, and of the line of a pod, in pixels.
const NODE_HEIGHT: usize = 19;
const POD_HEIGHT: usize = 6;

/// The maximum number of rows of pods in a lane. Further pods are counted in the note.
const MAX_ROWS: usize = 20;

/// One lane.
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) note: String,
    /// In pixels.
    pub(super) height: usize,
    pub(super) bars: Vec<Bar>,
}

/// One box of a lane. `left` and `width` are in percent, `top` is in pixels.
pub(super) struct Bar {
    pub(super) class: String,
    pub(super) left: String,
    pub(super) width: String,
    pub(super) top: Option<usize>,
    pub(super) title: String,
}

/// The time axis that all lanes share, in seconds since the load began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) from: f64,
    pub(super) to: f64,
    /// The beginning and the end of the plateau.
    pub(super) plateau: Option<(f64, f64)>,
}

impl Axis {
    fn percent(self, at: f64) -> f64 {
        ((at - self.from) / (self.to - self.from).max(1.0) * 100.0).clamp(0.0, 100.0)
    }

    /// Returns the position in percent and the text of each tick.
    pub(super) fn ticks(self) -> Vec<(String, String)> {
        let ticks = ticks(self.to).into_iter().filter(|tick| *tick <= self.to);
        ticks
            .map(|tick| (percent(self.percent(tick)), format!("{} s", short(tick))))
            .collect()
    }

    fn bar(self, class: impl Into<String>, top: Option<usize>, from: f64, to: f64, title: String) -> Bar {
        let left = self.percent(from);
        Bar {
            class: class.into(),
            left: percent(left),
            width: percent((self.percent(to) - left).max(0.0)),
            top,
            title,
        }
    }
}

fn percent(value: f64) -> String {
    format!("{value:.2}")
}

fn seconds(time: Option<TimeEstimate>) -> Option<f64> {
    time.map(|time| time.seconds)
}

/// Draws a node and the pods on it. `class` is the CSS class of its zone.
pub(super) fn of_node(axis: Axis, node: &NodeLife, class: &str, pods: &[&PodPlacement]) -> Lane {
    let began = node.began().unwrap_or(axis.from);
    let gone = seconds(node.gone).unwrap_or(axis.to);
    let leaving = seconds(node.leaving).unwrap_or(gone).min(gone);
    let ready = if node.is_new {
        seconds(node.ready).unwrap_or(leaving).min(leaving)
    } else {
        began
    };
    let mut bars = plateau(axis);
    for (state, text, from, to) in [
        ("coming", "coming", began, ready),
        ("", "ready", ready, leaving),
        ("leaving", "being removed", leaving, gone),
    ] {
        if to > from {
            let title = format!("{}: {text} {from:.1} to {to:.1} s", node.name);
            bars.push(axis.bar(format!("life {state} {class}"), None, from, to, title));
        }
    }
    let times = |pod: &PodPlacement| {
        (
            seconds(pod.placed).unwrap_or(axis.from),
            seconds(pod.gone).unwrap_or(axis.to),
        )
    };
    let (lines, rows) = pod_lines(axis, "pod", NODE_HEIGHT, pods, times);
    bars.extend(lines);
    let parts = [
        node.zone.clone(),
        node.instance_type.clone(),
        Some(count(pods.len())),
    ];
    Lane {
        name: node.name.clone(),
        note: parts.into_iter().flatten().collect::<Vec<_>>().join(", "),
        height: NODE_HEIGHT + rows * POD_HEIGHT,
        bars,
    }
}

/// Draws the pods while they have no node; `None` if every pod had one from the beginning.
pub(super) fn of_waiting_pods(axis: Axis, pods: &[PodPlacement]) -> Option<Lane> {
    let end = |pod: &PodPlacement| seconds(pod.placed.or(pod.gone)).unwrap_or(axis.to);
    let waited = |pod: &&PodPlacement| pod.created.is_some_and(|created| end(pod) > created.seconds);
    let pods: Vec<&PodPlacement> = pods.iter().filter(waited).collect();
    if pods.is_empty() {
        return None;
    }
    let times = |pod: &PodPlacement| (seconds(pod.created).unwrap_or(axis.from), end(pod));
    let (lines, rows) = pod_lines(axis, "pod waiting", 2, &pods, times);
    let mut bars = plateau(axis);
    bars.extend(lines);
    Some(Lane {
        name: "no node yet".to_owned(),
        note: count(pods.len()),
        height: 2 + rows * POD_HEIGHT,
        bars,
    })
}

fn count(pods: usize) -> String {
    let suffix = if pods == 1 { "" } else { "s" };
    let hidden = pods.saturating_sub(MAX_ROWS);
    match hidden {
        0 => format!("{pods} pod{suffix}"),
        _ => format!("{pods} pods, of which at most {MAX_ROWS} at a time are drawn"),
    }
}

fn plateau(axis: Axis) -> Vec<Bar> {
    let bar = |(from, to)| axis.bar("plateau", None, from, to, String::new());
    axis.plateau.map(bar).into_iter().collect()
}

/// Draws a line for each pod in the first free row. Returns the lines and the number of rows.
fn pod_lines(
    axis: Axis,
    class: &str,
    top: usize,
    pods: &[&PodPlacement],
    times: impl Fn(&PodPlacement) -> (f64, f64),
) -> (Vec<Bar>, usize) {
    // The end of the last line in each row.
    let mut rows: Vec<f64> = Vec::new();
    let mut bars = Vec::new();
    let mut pods: Vec<(&PodPlacement, (f64, f64))> = pods.iter().map(|pod| (*pod, times(pod))).collect();
    pods.sort_by(|one, other| one.1.0.total_cmp(&other.1.0));
    for (pod, (from, to)) in pods {
        let free = rows.iter().position(|end| *end <= from);
        let row = free.unwrap_or(rows.len());
        if row == MAX_ROWS {
            continue;
        }
        if row == rows.len() {
            rows.push(to);
        } else {
            rows[row] = to;
        }
        let title = format!("{}: {from:.1} to {to:.1} s", pod.pod);
        bars.push(axis.bar(class, Some(top + row * POD_HEIGHT), from, to, title));
    }
    (bars, rows.len())
}
