//! The Lease as an object of the API (<https://kubernetes.io/docs/concepts/architecture/leases/>), and who may take it.

use std::time::Duration;

use serde_json::{Value, json};

/// The namespace of the Lease. The one of the pair does not exist before the first deployment.
pub(super) const NAMESPACE: &str = "default";

/// The name of the Lease.
pub(super) const NAME: &str = "sample-app-pipeline";

/// How long a lease is valid after its renewal. Two renewals in a row may get no answer at all: the API server of a small cluster may be
/// slow for seconds while it starts pods. A pipeline waits as long for the lease of one that was killed.
pub(super) const DURATION: Duration = Duration::from_secs(30);

/// A Lease that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) holder: Option<String>,
    /// Since when the holder has it.
    pub(super) since: String,
    /// How long it is valid after a renewal.
    pub(super) duration: Duration,
    /// How many holders there were before.
    pub(super) transitions: u64,
    /// Changes with every renewal.
    pub(super) version: String,
}

impl Lease {
    pub(super) fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let seconds = spec["leaseDurationSeconds"].as_u64();
        Self {
            holder: Some(text(&spec["holderIdentity"])).filter(|holder| !holder.is_empty()),
            since: text(&spec["acquireTime"]),
            duration: seconds.map_or(DURATION, Duration::from_secs),
            transitions: spec["leaseTransitions"].as_u64().unwrap_or_default(),
            version: text(&object["metadata"]["resourceVersion"]),
        }
    }

    /// Names the holder.
    pub(super) fn describe(&self) -> String {
        let holder = self.holder.as_deref().unwrap_or("nobody");
        format!("{holder}, since {}", self.since)
    }
}

/// What a pipeline that wants the lease does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Replaces the lease: nobody has it, or its holder has stopped.
    Take,
    /// Refuses to run: the holder is alive.
    Refuse,
    /// Looks again.
    Watch,
}

/// Decides about a lease that was `first` when the pipeline began to watch it, and is `now` after `watched`.
///
/// Only renewals tell whether a holder is alive. The times in the lease are those of the clock of another machine.
pub(super) fn decide(first: &Lease, now: &Lease, watched: Duration) -> Decision {
    if now.holder.is_none() {
        Decision::Take
    } else if now.version != first.version {
        Decision::Refuse
    } else if watched >= first.duration {
        Decision::Take
    } else {
        Decision::Watch
    }
}

/// The object of a lease that `holder` has since `since`, renewed at `renewed`. Without a holder it is free. With the version of the
/// object that it replaces, the API server refuses it if another one was faster.
pub(super) fn object(
    holder: Option<&str>,
    since: &str,
    renewed: &str,
    transitions: u64,
    replaced: Option<&str>,
) -> Value {
    let mut object = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": NAME, "namespace": NAMESPACE },
        "spec": {
            "leaseDurationSeconds": DURATION.as_secs(),
            "acquireTime": since,
            "renewTime": renewed,
            "leaseTransitions": transitions,
        },
    });
    if let Some(holder) = holder {
        object["spec"]["holderIdentity"] = holder.into();
    }
    if let Some(version) = replaced {
        object["metadata"]["resourceVersion"] = version.into();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, version: &str) -> Lease {
        let mut object = object(holder, "10:00", "10:01", 3, Some(version));
        object["spec"]["leaseDurationSeconds"] = 20.into();
        Lease::of(&object)
    }

    #[test]
    fn what_is_written_is_read() {
        let read = lease(Some("host pid 1"), "7");
        assert_eq!(read.describe(), "host pid 1, since 10:00");
        assert_eq!((read.transitions, &read.version[..]), (3, "7"));
        assert_eq!(lease(None, "7").holder, None);
        assert_eq!(lease(Some(""), "7").holder, None, "as client-go releases it");
    }

    #[test]
    fn only_a_lease_that_nobody_renews_is_taken_over() {
        let seconds = Duration::from_secs;
        let held = lease(Some("a"), "7");
        let renewed = lease(Some("a"), "8");
        let taken = lease(Some("b"), "8");
        for (now, watched, expected) in [
            (&held, 0, Decision::Watch),
            (&held, 19, Decision::Watch),
            (&held, 20, Decision::Take),
            (&renewed, 5, Decision::Refuse),
            // A renewal in the last moment.
            (&renewed, 20, Decision::Refuse),
            (&taken, 5, Decision::Refuse),
        ] {
            assert_eq!(
                decide(&held, now, seconds(watched)),
                expected,
                "{now:?} after {watched} s"
            );
        }
        assert_eq!(
            decide(&held, &lease(None, "8"), seconds(1)),
            Decision::Take,
            "given back"
        );
        let free = lease(None, "7");
        assert_eq!(decide(&free, &free, Duration::ZERO), Decision::Take);
    }
}
