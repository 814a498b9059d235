//! Deliveries to a cluster that a stand-in for kubectl shows.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::super::outcome::exit_code;
use super::*;

/// Notes each call, and answers what the files beside it say.
const KUBECTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/calls"
for last; do :; done
case " $* " in
*" --dry-run=client "*) cat "$here/next.json" ;;
*" --dry-run=server "*)
    ! grep -q karpenter "$last" || { echo 'Error from server (NotFound): namespaces "karpenter" not found' >&2; exit 1; }
    cat "$last" ;;
*" get services "*) echo '{"items": []}' ;;
*" kustomize "*) cat "$here/overlay.yaml" ;;
*" get deployment "*) cat "$here/deployment.json" ;;
*" get secret "*) cat "$here/stored.yaml" ;;
*" create "*)
    [ ! -e "$here/no-events" ] || ! grep -q '"Event"' "$last" || { echo "Error from server (Forbidden): no events" >&2; exit 1; }
    if grep -q '"Pod"' "$last"; then
        [ ! -e "$here/rejected" ] || { cat "$here/rejected" >&2; exit 1; }
        echo '{"metadata": {"name": "app-a-canary-1"}}'
        exit
    fi
    tee -a "$here/created" <"$last" ;;
*" apply "*rollback.yaml*)
    cp "$last" "$here/rolled-back"
    [ "$(grep -c ' apply .*rollback.yaml' "$here/calls")" -gt "$(cat "$here/failing-rollbacks")" ] || { echo "the server is overloaded" >&2; exit 1; }
    echo '{"kind": "Deployment", "metadata": {"name": "app-a"}}' ;;
*" apply "*) echo '{"kind": "Deployment", "metadata": {"name": "app-a"}}' ;;
esac
"#;

/// Notes each call, and ends with the code in the file that is named like the report.
const LOADTEST: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/tests"
case "$*" in
*canary-direct.json*) echo "direct test" >>"$here/calls"; exit "$(cat "$here/direct")" ;;
*canary-load.json*) echo "load test" >>"$here/calls"; exit "$(cat "$here/load")" ;;
esac
echo "stage test" >>"$here/calls"
exit TESTED
"#;

/// A cluster and the commands of a delivery.
struct Stand {
    folder: TempDir,
}

impl Stand {
    /// A cluster with a verified release, and tests that end with this exit code.
    fn new(tested: u8) -> Self {
        let stand = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let loadtest = LOADTEST.replace("TESTED", &tested.to_string());
        for (name, text) in [("kubectl", KUBECTL), ("loadtest", &loadtest)] {
            stand.write(name, text);
            fs::set_permissions(stand.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let record = json!({
            "version": "0.1.0+before",
            "revision": "before",
            "stage": "local",
            "time": "2026-01-01T00:00:00Z",
            "images": images(),
            "manifests": "manifests-old",
        });
        let annotations = json!({ "sample-app/verified-release": record.to_string() });
        let deployment = json!({ "metadata": { "uid": "1", "annotations": annotations } });
        stand.write("deployment.json", &deployment.to_string());
        stand.write("overlay.yaml", "image: app-a:1\nimage: app-b:1\n");
        stand.write("kustomization.yaml", "");
        stand.write("stored.yaml", "the manifests before");
        stand.write("failing-rollbacks", "0");
        stand.write("direct", "0");
        stand.write("load", "0");
        stand
    }

    /// A cluster on which `app-a` runs, and gets other pods by the release.
    fn with_canary() -> Self {
        let stand = Self::new(0);
        let template = |image: &str| {
            json!({
                "metadata": { "labels": { "app.kubernetes.io/component": "frontend" } },
                "spec": { "containers": [{ "image": image }] },
            })
        };
        let mut running: serde_json::Value = serde_json::from_str(&stand.read("deployment.json")).unwrap();
        running["status"]["readyReplicas"] = 2.into();
        running["spec"]["template"] = template(&images()["app-a"]);
        stand.write("deployment.json", &running.to_string());
        let metadata = json!({ "name": "app-a", "namespace": "sample-app" });
        // The release also adds a namespace, which a dry run does not create.
        let next = [
            json!({ "kind": "Namespace", "metadata": { "name": "karpenter" } }),
            json!({ "kind": "Deployment", "metadata": { "name": "karpenter", "namespace": "karpenter" } }),
            json!({ "kind": "Deployment", "metadata": metadata, "spec": { "template": template("next") } }),
            json!({ "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": { "scaleTargetRef": { "name": "app-a" } } }),
        ];
        stand.write("next.json", &next.map(|object| object.to_string()).join("\n"));
        stand
    }

    /// The steps about canaries and the release, in their order.
    fn steps(&self) -> Vec<&'static str> {
        let calls = self.read("calls");
        let step = |call: &str| {
            let steps = [
                ("delete pods", "delete canaries"),
                ("create --output=json --filename", "create"),
                ("direct test", "direct test"),
                (
                    "label pod app-a-canary-1 --overwrite app.kubernetes.io/component=frontend",
                    "admit",
                ),
                ("load test", "load test"),
                ("release.yaml", "deploy"),
                ("rollback.yaml", "roll back"),
                ("stage test", "stage test"),
            ];
            let is_dry = call.contains("--dry-run");
            let found = steps.into_iter().find(|(part, _)| call.contains(part) && !is_dry);
            found.map(|(_, step)| step)
        };
        let mut steps: Vec<_> = calls.lines().filter_map(step).collect();
        // The manifests and the events at the end.
        while steps.last() == Some(&"create") {
            steps.pop();
        }
        steps
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn run(&self) -> Result<Outcome> {
        self.run_and_say().0
    }

    /// Also returns the last line after a stop.
    fn run_and_say(&self) -> (Result<Outcome>, String) {
        let (signals, lease) = (Signals::default(), Lease::for_tests(true));
        let cluster = Cluster::for_tests(self.path("kubectl"));
        let (overlay, folder) = (self.folder.path(), self.path("stage"));
        let record = json!({ "registry": "r.io", "images": [] });
        let delivery = Delivery {
            guard: Guard {
                signals: &signals,
                lease: &lease,
            },
            cluster: &cluster,
            release: &Release::of("0123456789ab", &record).unwrap(),
            stage: Stage::Local,
            images: &images(),
            overlay,
            folder: &folder,
            tests: &Tests::new(Stage::Local, &[], overlay, &folder).unwrap(),
            loadtest: &self.path("loadtest"),
            holder: "a test",
            without_canary: false,
            has_deployed: Cell::new(false),
        };
        let outcome = delivery.run();
        (outcome, delivery.what_is_unknown())
    }

    fn calls(&self, verb: &str) -> usize {
        let verb = format!(" {verb} ");
        self.read("calls")
            .lines()
            .filter(|call| call.contains(&verb))
            .count()
    }
}

fn images() -> BTreeMap<String, String> {
    let image = |name: &str| {
        let reference = format!("r.io/{name}@sha256:{}", "a".repeat(64));
        (name.to_owned(), reference)
    };
    BTreeMap::from(["app-a", "app-b"].map(image))
}

#[test]
fn a_release_or_a_rollback_stays_what_it_is_without_events() {
    for (tested, expected) in [(0, Outcome::Passed), (1, Outcome::RolledBack)] {
        let stand = Stand::new(tested);
        stand.write("no-events", "");
        assert_eq!(stand.run().unwrap(), expected);
        assert!(stand.calls("create") > 0, "no event was tried");
    }
}

#[test]
fn a_rollback_that_kubectl_does_not_apply_is_tried_again() {
    let stand = Stand::new(1);
    stand.write("failing-rollbacks", "1");
    assert_eq!(stand.run().unwrap(), Outcome::RolledBack);
    assert_eq!(stand.calls("apply"), 3, "{}", stand.read("calls"));
    assert_eq!(stand.read("rolled-back"), "the manifests before");
}

/// The Secret is missing, and the record has no image of `app-b`: nothing could be rolled back to.
#[test]
fn a_release_without_a_possible_rollback_is_refused_before_it_is_deployed() {
    let stand = Stand::new(1);
    stand.write("stored.yaml", "");
    let deployment = stand.read("deployment.json").replace("app-b", "other");
    stand.write("deployment.json", &deployment);
    let error = stand.run().unwrap_err();
    assert_eq!(exit_code(&error), 3, "{error:#}");
    assert!(
        format!("{error:#}").contains("rollback to 0.1.0+before"),
        "{error:#}"
    );
    assert_eq!(stand.calls("apply"), 0, "{}", stand.read("calls"));
}

#[test]
fn without_the_secret_the_overlay_with_the_images_before_is_the_rollback() {
    let stand = Stand::new(1);
    stand.write("stored.yaml", "");
    assert_eq!(stand.run().unwrap(), Outcome::RolledBack);
    assert_eq!(stand.read("rolled-back"), stand.read("overlay.yaml"));
}

/// What CI archives has no manifests, because an overlay of a user may contain a Secret.
#[test]
fn the_manifests_are_in_no_folder_of_reports() {
    let stand = Stand::new(1);
    stand.run().unwrap();
    let files = fs::read_dir(stand.path("stage")).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["kustomization.yaml"]);
}

#[test]
fn a_release_that_could_not_be_tested_does_not_stay() {
    let stand = Stand::new(104);
    assert_eq!(stand.run().unwrap(), Outcome::RolledBack);
    assert!(
        stand.read("created").contains("has tested nothing"),
        "{}",
        stand.read("created")
    );
}

#[test]
fn the_same_manifests_are_deployed_and_verified() {
    let stand = Stand::new(0);
    assert_eq!(stand.run().unwrap(), Outcome::Passed);
    let calls = stand.read("calls");
    let deployed = calls.lines().find_map(|call| call.split("--filename ").nth(1));
    let deployed = deployed.unwrap().trim();
    let tests = stand.read("tests");
    let verified = tests.split("--overlay ").nth(1).unwrap();
    let verified = verified.split(' ').next().unwrap();
    assert_eq!(deployed, format!("{verified}/release.yaml"), "{calls}");
}

#[test]
fn a_release_is_deployed_after_its_canary_has_passed_and_is_deleted() {
    let stand = Stand::with_canary();
    assert_eq!(stand.run().unwrap(), Outcome::Passed);
    let expected = [
        "delete canaries",
        "create",
        "direct test",
        "admit",
        "load test",
        "delete canaries",
        "deploy",
        "stage test",
    ];
    assert_eq!(stand.steps(), expected, "{}", stand.read("calls"));
    let tests = stand.read("tests");
    assert!(
        tests.contains("--canary app-a=app-a-canary-1 --only canary-starts --only canary-urls --only canary-metrics --json"),
        "{tests}"
    );
}

#[test]
fn a_release_whose_canary_fails_is_never_deployed_and_the_canary_is_deleted() {
    let before = ["delete canaries", "create", "direct test"];
    for (test, steps) in [
        ("direct", &["delete canaries", "roll back"][..]),
        ("load", &["admit", "load test", "delete canaries", "roll back"]),
    ] {
        let stand = Stand::with_canary();
        stand.write(test, "1");
        assert_eq!(stand.run().unwrap(), Outcome::RolledBack);
        assert_eq!(
            stand.steps(),
            [&before, steps].concat(),
            "{}",
            stand.read("calls")
        );
    }
}

/// Without a verified release, too: what runs stays.
#[test]
fn a_first_release_whose_canary_fails_changes_nothing() {
    let stand = Stand::with_canary();
    stand.write("load", "1");
    let deployment = stand.read("deployment.json").replace("verified-release", "other");
    stand.write("deployment.json", &deployment);
    assert_eq!(stand.run().unwrap(), Outcome::NothingBefore);
    assert_eq!(
        stand.steps().last(),
        Some(&"delete canaries"),
        "{}",
        stand.read("calls")
    );
}

/// As the rules of the namespace would reject the pods of the Deployment.
#[test]
fn a_release_whose_canary_is_rejected_fails_and_a_missing_permission_says_nothing_about_it() {
    for rejection in [
        r#"Error from server (Forbidden): pods "app-a-canary-1" is forbidden: violates PodSecurity "restricted:latest""#,
        r#"Error from server (Forbidden): pods "app-a-canary-1" is forbidden: exceeded quota: pods"#,
        r#"The Pod "app-a-canary-1" is invalid: spec.nodeName: Invalid value"#,
    ] {
        let stand = Stand::with_canary();
        stand.write("rejected", rejection);
        assert_eq!(stand.run().unwrap(), Outcome::RolledBack, "{rejection}");
        let steps = ["delete canaries", "create", "delete canaries", "roll back"];
        assert_eq!(stand.steps(), steps, "{rejection}");
        assert!(
            stand.read("created").contains("rejects a canary of app-a"),
            "{rejection}"
        );
    }
    let stand = Stand::with_canary();
    stand.write(
        "rejected",
        r#"Error from server (Forbidden): pods is forbidden: User "ci" cannot create resource "pods" in API group """#,
    );
    let (outcome, said) = stand.run_and_say();
    assert_eq!(exit_code(&outcome.unwrap_err()), 1);
    assert!(
        said.contains("what ran before still runs; the last verified release is 0.1.0+before"),
        "{said}"
    );
    let (_, said) = Stand::with_canary().run_and_say();
    assert!(
        said.contains("may run on the cluster of the context test and is not verified"),
        "{said}"
    );
}

/// A pipeline was killed in the middle of its deployment: the same command must release.
#[test]
fn a_release_over_one_that_was_not_verified_is_deployed_without_a_canary() {
    let stand = Stand::with_canary();
    let deployment = stand.read("deployment.json");
    let mut deployment: serde_json::Value = serde_json::from_str(&deployment).unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "unverified".into();
    stand.write("deployment.json", &deployment.to_string());
    assert_eq!(stand.run().unwrap(), Outcome::Passed);
    assert_eq!(stand.steps(), ["delete canaries", "deploy", "stage test"]);
}
