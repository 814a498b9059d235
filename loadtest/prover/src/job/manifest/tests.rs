//! The tests of `manifest`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{super::pod_input::LoadFlag, *};

fn load() -> SharedLoad {
    let plan = json!({"stages": [], "spacing": "even", "duration_seconds": 10.0, "timeout_seconds": 10.0,
        "connections": 100, "max_in_flight": 100, "max_idle_seconds": 4.0, "threads": 6, "protocol": "http1",
        "content": {"headers": [], "body_bytes": 0}, "expectations": {"statuses": [], "bodies": []}});
    SharedLoad {
        version: "1".to_owned(),
        start_at: Timestamp::from_second(1_800_000_000).unwrap(),
        stripes: 3,
        plan: serde_json::from_value(plan).unwrap(),
        targets: Vec::new(),
    }
}

fn job_json(input: &PodInput, keep: bool) -> Value {
    job_json_with_secret(input, keep, None)
}

fn job_json_with_secret(input: &PodInput, keep: bool, cert_secret: Option<&str>) -> Value {
    let job = job(&Manifest {
        name: "loadtest-1",
        image: "loadtest:1",
        cpu: &Quantity("2".to_owned()),
        cert_secret,
        url: Some("http://app-a.sample-app.svc/$(HOME)"),
        input,
        load: &load(),
        threads: 2,
        deadline: Duration::from_secs(110),
        drain: Duration::from_secs(40),
        keep,
    });
    serde_json::to_value(job).unwrap()
}

fn flag(name: &str, value: &str) -> LoadFlag {
    LoadFlag {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    }
}

#[test]
fn each_pod_sends_one_stripe_and_is_never_restarted() {
    let input = PodInput::read(&[flag("rate", "90"), flag("threads", "2")]).unwrap();
    let job = job_json(&input, false);
    let spec = &job["spec"];
    for (field, value) in [
        ("completionMode", json!("Indexed")),
        ("completions", json!(3)),
        ("parallelism", json!(3)),
        ("backoffLimitPerIndex", json!(0)),
        ("activeDeadlineSeconds", json!(110)),
        ("ttlSecondsAfterFinished", json!(600)),
    ] {
        assert_eq!(spec[field], value, "{field}");
    }
    assert!(
        spec["backoffLimit"].is_null(),
        "one failed pod would stop the others"
    );
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["terminationGracePeriodSeconds"], 40);
    assert_eq!(
        pod["containers"][0]["args"],
        json!([
            "run",
            "--rate=90",
            "http://app-a.sample-app.svc/$$(HOME)",
            "--threads=2",
            "--stripe=$(JOB_COMPLETION_INDEX)/3",
            "--start-at=2027-01-15T08:00:00Z"
        ])
    );
    assert_eq!(pod["containers"][0]["resources"]["requests"]["cpu"], "2");
    assert!(pod["volumes"].is_null());
    assert!(job_json(&input, true)["spec"]["ttlSecondsAfterFinished"].is_null());
}

/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>
#[test]
fn pods_satisfy_the_restricted_profile_and_have_no_token() {
    let job = job_json(&PodInput::default(), false);
    let pod = &job["spec"]["template"]["spec"];
    let container = &pod["containers"][0]["securityContext"];
    for (value, expected) in [
        (&pod["securityContext"]["runAsNonRoot"], json!(true)),
        (
            &pod["securityContext"]["seccompProfile"]["type"],
            json!("RuntimeDefault"),
        ),
        (&container["allowPrivilegeEscalation"], json!(false)),
        (&container["readOnlyRootFilesystem"], json!(true)),
        (&container["capabilities"], json!({"drop": ["ALL"]})),
        (&pod["automountServiceAccountToken"], json!(false)),
    ] {
        assert_eq!(*value, expected, "{job:#}");
    }
    for absent in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[absent].is_null(), "{absent}");
    }
}

#[test]
fn the_client_certificate_is_a_secret_that_only_the_pod_mounts() {
    let input = PodInput::read(&[flag("rate", "90")]).unwrap();
    let job = job_json_with_secret(&input, false, Some("client-tls"));
    let template = &job["spec"]["template"];
    let pod = &template["spec"];
    assert_eq!(
        pod["volumes"],
        json!([{"name": "client-certificate", "secret": {"secretName": "client-tls"}}])
    );
    let container = &pod["containers"][0];
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "client-certificate", "mountPath": "/client-certificate", "readOnly": true}])
    );
    let arguments = container["args"].as_array().unwrap();
    for argument in [
        "--cert=/client-certificate/tls.crt",
        "--key=/client-certificate/tls.key",
    ] {
        assert!(arguments.contains(&json!(argument)), "{arguments:?}");
    }
}

#[test]
fn files_are_annotations_of_the_pod() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("trace"), "0,80\n10,0\n").unwrap();
    let input = PodInput::read(&[flag("trace", &path("trace"))]).unwrap();
    let job = job_json(&input, false);
    let template = &job["spec"]["template"];
    assert_eq!(
        template["metadata"]["annotations"]["loadtest/trace"],
        "0,80\n10,0\n"
    );
    let pod = &template["spec"];
    assert_eq!(pod["containers"][0]["args"][1], "--trace=/input/trace");
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/input");
    let item = &pod["volumes"][0]["downwardAPI"]["items"][0];
    assert_eq!(
        (&item["path"], &item["fieldRef"]["fieldPath"]),
        (&json!("trace"), &json!("metadata.annotations['loadtest/trace']"))
    );

    std::fs::write(path("binary"), [0xff, 0xfe]).unwrap();
    std::fs::write(path("large"), "x".repeat(300_000)).unwrap();
    for (name, says) in [
        ("binary", "not text"),
        ("large", "at most 204800"),
        ("missing", "No such"),
    ] {
        let error = PodInput::read(&[flag("body-file", &path(name))]).unwrap_err();
        assert!(error.to_string().contains(says), "{name}: {error}");
    }
}
