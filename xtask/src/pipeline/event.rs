//! The events about releases and rollbacks, at `events.k8s.io/v1`.

use anyhow::Result;
use serde_json::{Value, json};

use super::cluster::{Cluster, NAMESPACE, PAIR};
use super::guard::Guard;
use super::time;

/// The length of the note of an event.
const NOTE: usize = 1024;

/// What happened to a Deployment: the reason of an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happened {
    Released,
    RolledBack,
    ReleaseFailed,
}

/// Writes an event about each Deployment of the pair. A Deployment that does not exist has none.
///
/// # Errors
/// A stop, or the API server does not answer.
pub(super) fn write(
    guard: &Guard<'_>,
    cluster: &Cluster,
    happened: Happened,
    note: &str,
    instance: &str,
) -> Result<()> {
    for name in PAIR {
        let Some(deployment) = guard.request(|| cluster.get(NAMESPACE, "deployment", name))? else {
            continue;
        };
        let uid = deployment["metadata"]["uid"].as_str().unwrap_or_default();
        let event = event_object(happened, note, instance, name, uid);
        guard.request(|| cluster.write("create", &event))?;
    }
    Ok(())
}

fn event_object(happened: Happened, note: &str, instance: &str, deployment: &str, uid: &str) -> Value {
    let is_good = matches!(happened, Happened::Released);
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "generateName": format!("{deployment}-pipeline-"), "namespace": NAMESPACE },
        "eventTime": time::now(),
        "reportingController": "sample-app/pipeline",
        "reportingInstance": instance,
        "action": "Deploy",
        "reason": format!("{happened:?}"),
        "type": if is_good { "Normal" } else { "Warning" },
        "regarding": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": deployment,
            "namespace": NAMESPACE,
            "uid": uid,
        },
        "note": cut(note),
    })
}

/// At most as many bytes as a note may have.
fn cut(note: &str) -> &str {
    &note[..note.floor_char_boundary(NOTE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = "ä".repeat(NOTE);
        let object = event_object(Happened::RolledBack, &note, "host pid 1", "app-a", "1");
        let written = object["note"].as_str().unwrap();
        assert!(written.len() <= NOTE && note.starts_with(written));
        assert_eq!(
            (&object["reason"], &object["type"]),
            (&json!("RolledBack"), &json!("Warning"))
        );
    }
}
