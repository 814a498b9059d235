//! Runs `app_b` on volumes that it cannot use. Its log must name the fault and the remedy.

use anyhow::{Context as _, Result, ensure};
use e2e::{SHORT_CERTIFICATE, apply, deploy_changed, eventually, kubectl, with_diagnostics};

/// Runs `app_b` as the overlay does, but on another volume, until it exits. Returns its exit code and its log.
fn app_b_on(name: &str, mount: &str, volume: &str) -> Result<(String, String)> {
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    let image = kubectl(&["-n", "sample-app", "get", "deployment", "app-b", "-o", image])?;
    apply(&format!(
        r"
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: sample-app
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: app-b
      image: {image}
      imagePullPolicy: IfNotPresent
      env:
        - name: DATABASE_URL
          value: sqlite:///data/app_b.db
        - name: DEMO_USERS
          value: 'true'
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: data
          mountPath: /data
          {mount}
  volumes:
    - name: data
      emptyDir: {volume}
"
    ))?;
    let pod = ["-n", "sample-app", "get", "pod", name, "-o"];
    let state = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}";
    let code = eventually(&format!("pod {name} has exited"), || {
        let code = kubectl(&[&pod[..], &[state]].concat())?;
        ensure!(!code.is_empty(), "{}", kubectl(&[&pod[..], &["wide"]].concat())?);
        Ok(code)
    })?;
    let log = kubectl(&["-n", "sample-app", "logs", name])?;
    kubectl(&["-n", "sample-app", "delete", "pod", name, "--wait=false"])?;
    Ok((code, log))
}

/// Checks that the process exited with code 1, and that its last log line contains the error and the advice.
fn assert_rejected((code, log): &(String, String), error: &str, advice: &str) -> Result<()> {
    let last = log.lines().last().context("an empty log")?;
    ensure!(
        code == "1" && last.contains(error) && last.contains(advice),
        "exit code {code}, log:\n{log}"
    );
    Ok(())
}

#[test]
fn a_full_disk_is_named_in_the_log() {
    with_diagnostics(|| {
        deploy_changed(SHORT_CERTIFICATE)?;
        // The first tmpfs has no room for the shared-memory file of SQLite. The second fills up while the database is created.
        for (name, size) in [("full-at-once", "16Ki"), ("full-halfway", "48Ki")] {
            let result = app_b_on(name, "", &format!("{{medium: Memory, sizeLimit: {size}}}"))?;
            assert_rejected(&result, "/data/app_b.db", "free some space on that disk")?;
        }
        Ok(())
    });
}

#[test]
fn a_read_only_disk_is_named_in_the_log() {
    with_diagnostics(|| {
        deploy_changed(SHORT_CERTIFICATE)?;
        let result = app_b_on("read-only-disk", "readOnly: true", "{}")?;
        assert_rejected(
            &result,
            "/data/app_b.db",
            "give this process a directory it can write to",
        )
    });
}
