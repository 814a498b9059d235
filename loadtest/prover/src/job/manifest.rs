//! Builds the Job: one pod per stripe, each with its index. The pods satisfy the restricted Pod Security profile.

use std::{collections::BTreeMap, time::Duration};

use engine::SharedLoad;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            Capabilities, Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector,
            PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile,
            SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};

use super::pod_input::{INPUT_FOLDER, PodInput};

/// The directory of the client certificate inside the pods.
const CERTIFICATE_FOLDER: &str = "/client-certificate";

/// The user and group ID of the images of this project.
const USER: i64 = 65_532;

/// How long a finished Job remains if the command died and did not delete it, in seconds. Long enough to inspect the Job.
const TIME_TO_LIVE_SECONDS: i32 = 600;

/// The parameters of a Job.
pub struct Manifest<'a> {
    /// The name of the Job.
    pub name: &'a str,
    /// The image with this program as its entrypoint.
    pub image: &'a str,
    /// The CPU request of each pod.
    pub cpu: &'a Quantity,
    /// The Secret with the client certificate and its key; `None` for no certificate.
    pub cert_secret: Option<&'a str>,
    /// The URL of the requests; `None` if a flag names the targets.
    pub url: Option<&'a str>,
    /// The flags and files of the load.
    pub input: &'a PodInput,
    /// The load of all pods together.
    pub load: &'a SharedLoad,
    /// The number of generator threads in each pod.
    pub threads: usize,
    /// The time from the start of the Job after which Kubernetes stops the pods.
    pub deadline: Duration,
    /// The grace period in which a stopping pod drains its requests and prints its result.
    pub drain: Duration,
    /// Whether the finished Job remains forever.
    pub keep: bool,
}

/// Builds the Job.
#[must_use]
pub fn job(manifest: &Manifest<'_>) -> Job {
    let stripes = i32::try_from(manifest.load.stripes).unwrap_or(i32::MAX);
    let labels = BTreeMap::from(["name", "managed-by"].map(|label| {
        let label = format!("app.kubernetes.io/{label}");
        (label, "loadtest".to_owned())
    }));
    let annotations = manifest.input.files.iter();
    let annotations: BTreeMap<_, _> = annotations
        .map(|(name, content)| (annotation(name), content.clone()))
        .collect();
    Job {
        metadata: ObjectMeta {
            name: Some(manifest.name.to_owned()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            completion_mode: Some("Indexed".to_owned()),
            completions: Some(stripes),
            parallelism: Some(stripes),
            // A restarted pod would be late. `backoffLimit: 0` would stop all pods when one fails.
            backoff_limit_per_index: Some(0),
            active_deadline_seconds: Some(i64::try_from(manifest.deadline.as_secs()).unwrap_or(i64::MAX)),
            ttl_seconds_after_finished: (!manifest.keep).then_some(TIME_TO_LIVE_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(manifest)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod(manifest: &Manifest<'_>) -> PodSpec {
    let job_label = BTreeMap::from([(
        "batch.kubernetes.io/job-name".to_owned(),
        manifest.name.to_owned(),
    )]);
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        termination_grace_period_seconds: Some(i64::try_from(manifest.drain.as_secs()).unwrap_or(i64::MAX)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        // A preference: on a single node, all pods run there.
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(job_label),
                ..LabelSelector::default()
            }),
            ..TopologySpreadConstraint::default()
        }]),
        volumes: not_empty(
            input_volume(manifest.input)
                .into_iter()
                .chain(manifest.cert_secret.map(certificate_volume)),
        ),
        containers: vec![container(manifest)],
        ..PodSpec::default()
    }
}

fn container(manifest: &Manifest<'_>) -> Container {
    let request = [
        ("cpu", manifest.cpu.clone()),
        ("memory", Quantity("64Mi".to_owned())),
    ];
    let mount = |name: &str, folder: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: folder.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let input = (!manifest.input.files.is_empty()).then(|| mount("input", INPUT_FOLDER));
    let certificate = manifest
        .cert_secret
        .map(|_| mount("client-certificate", CERTIFICATE_FOLDER));
    Container {
        name: "loadtest".to_owned(),
        image: Some(manifest.image.to_owned()),
        args: Some(arguments(manifest)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        resources: Some(ResourceRequirements {
            requests: Some(request.map(|(name, quantity)| (name.to_owned(), quantity)).into()),
            ..ResourceRequirements::default()
        }),
        volume_mounts: not_empty(input.into_iter().chain(certificate)),
        ..Container::default()
    }
}

/// Returns the arguments of each pod. Doubles each `$` of the user, because Kubernetes expands `$(NAME)`.
fn arguments(manifest: &Manifest<'_>) -> Vec<String> {
    let job_flags = [
        format!("--threads={}", manifest.threads),
        // The Job controller sets this variable.
        format!("--stripe=$(JOB_COMPLETION_INDEX)/{}", manifest.load.stripes),
        format!("--start-at={}", manifest.load.start_at),
    ];
    let certificate_flags = manifest.cert_secret.map(|_| {
        // The names of the files in a Secret of type kubernetes.io/tls.
        [("cert", "tls.crt"), ("key", "tls.key")]
            .map(|(flag, file)| format!("--{flag}={CERTIFICATE_FOLDER}/{file}"))
    });
    let user_flags = manifest.input.arguments.iter().map(String::as_str);
    let user_flags = user_flags.chain(manifest.url).map(|text| text.replace('$', "$$"));
    ["run".to_owned()]
        .into_iter()
        .chain(user_flags)
        .chain(certificate_flags.into_iter().flatten())
        .chain(job_flags)
        .collect()
}

/// Returns `None` for an empty list, so that the Job does not contain the field.
fn not_empty<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<T> = items.collect();
    (!items.is_empty()).then_some(items)
}

/// Returns the volume that mounts the client certificate.
fn certificate_volume(secret: &str) -> Volume {
    Volume {
        name: "client-certificate".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Returns the volume that mounts the user's files from the annotations of the pod; `None` without files.
fn input_volume(input: &PodInput) -> Option<Volume> {
    let file = |name: &String| DownwardAPIVolumeFile {
        path: name.clone(),
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.annotations['{}']", annotation(name)),
            ..ObjectFieldSelector::default()
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let files: Vec<_> = input.files.keys().map(file).collect();
    (!files.is_empty()).then(|| Volume {
        name: "input".to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(files),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    })
}

fn annotation(file: &str) -> String {
    format!("loadtest/{file}")
}

#[cfg(test)]
mod tests {
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
}
