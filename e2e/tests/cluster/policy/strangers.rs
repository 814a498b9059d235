//! Pods without a purpose: one in the namespace of the pair, and one in a namespace of its own.

use anyhow::Result;
use e2e::{apply, kubectl, kubectl_within};
use std::time::Duration;
use testbed::versions;

/// The name of the pods, of their label, and of the namespace.
pub(super) const STRANGER: &str = "stranger";

/// Creates both pods, and waits until they run.
pub(super) fn create() -> Result<()> {
    apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {STRANGER}}}\n"
    ))?;
    for namespace in ["sample-app", STRANGER] {
        apply(&format!(
            r"
apiVersion: v1
kind: Pod
metadata:
  name: {STRANGER}
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: {STRANGER}}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: pause
      image: registry.k8s.io/pause:{pause}
      imagePullPolicy: IfNotPresent
      securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
",
            pause = versions::PAUSE
        ))?;
        let pod = format!("pod/{STRANGER}");
        let ready = "--for=condition=Ready";
        kubectl_within(
            Duration::from_secs(90),
            &["-n", namespace, "wait", ready, &pod, "--timeout=60s"],
        )?;
    }
    Ok(())
}

/// Deletes both pods.
pub(super) fn remove() -> Result<()> {
    for namespace in ["sample-app", STRANGER] {
        kubectl(&["-n", namespace, "delete", "pod", STRANGER, "--ignore-not-found"])?;
    }
    Ok(())
}
