//! The Job: as many pods as stripes, each with its number, under the restricted profile of Pod Security.

use std::{collections::BTreeMap, time::Duration};

use engine::SharedLoad;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            Capabilities, Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector,
            PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile,
            SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};

use super::files::{FOLDER, Files};

/// What the images of this project run as.
const USER: i64 = 65_532;

/// How long a Job stays whose maker has died, in seconds: long enough for a look at it.
const TIME_TO_LIVE: i32 = 600;

/// What a Job is made of.
pub struct Manifest<'a> {
    /// Its name.
    pub name: &'a str,
    /// The image of this program.
    pub image: &'a str,
    /// What each pod asks for.
    pub cpu: &'a Quantity,
    /// Where requests go, unless a flag says it.
    pub url: Option<&'a str>,
    /// The flags of the load.
    pub carried: &'a Files,
    /// What is sent.
    pub load: &'a SharedLoad,
    /// Generator threads of each pod.
    pub threads: usize,
    /// When whatever still runs is ended, from the Job's start on.
    pub deadline: Duration,
    /// How long a pod that is to end may take for the requests in flight and its result.
    pub drain: Duration,
    /// Whether it stays for good.
    pub keep: bool,
}

/// The Job.
#[must_use]
pub fn job(manifest: &Manifest<'_>) -> Job {
    let stripes = i32::try_from(manifest.load.stripes).unwrap_or(i32::MAX);
    let labels = BTreeMap::from(["name", "managed-by"].map(|label| {
        let label = format!("app.kubernetes.io/{label}");
        (label, "loadtest".to_owned())
    }));
    let annotations = manifest.carried.contents.iter();
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
            // None is begun anew, it would be late. Not `backoffLimit: 0`: with that, one that is lost ends all others.
            backoff_limit_per_index: Some(0),
            active_deadline_seconds: Some(i64::try_from(manifest.deadline.as_secs()).unwrap_or(i64::MAX)),
            ttl_seconds_after_finished: (!manifest.keep).then_some(TIME_TO_LIVE),
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
    let own = BTreeMap::from([(
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
        // Wished for: on one node all of them run there.
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(own),
                ..LabelSelector::default()
            }),
            ..TopologySpreadConstraint::default()
        }]),
        volumes: input(manifest.carried).map(|volume| vec![volume]),
        containers: vec![container(manifest)],
        ..PodSpec::default()
    }
}

fn container(manifest: &Manifest<'_>) -> Container {
    let request = [
        ("cpu", manifest.cpu.clone()),
        ("memory", Quantity("64Mi".to_owned())),
    ];
    let mounts = (!manifest.carried.contents.is_empty()).then(|| {
        vec![VolumeMount {
            name: "input".to_owned(),
            mount_path: FOLDER.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]
    });
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
        volume_mounts: mounts,
        ..Container::default()
    }
}

/// What each pod is called with. A `$` of the user's is doubled, or Kubernetes would take `$(NAME)` for a variable.
fn arguments(manifest: &Manifest<'_>) -> Vec<String> {
    let own = [
        format!("--threads={}", manifest.threads),
        // The Job's controller sets the variable.
        format!("--stripe=$(JOB_COMPLETION_INDEX)/{}", manifest.load.stripes),
        format!("--start-at={}", manifest.load.start_at),
    ];
    let users = manifest.carried.arguments.iter().map(String::as_str);
    let users = users.chain(manifest.url).map(|text| text.replace('$', "$$"));
    ["run".to_owned()].into_iter().chain(users).chain(own).collect()
}

/// The user's files, which the pod's annotations hold.
fn input(carried: &Files) -> Option<Volume> {
    let file = |name: &String| DownwardAPIVolumeFile {
        path: name.clone(),
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.annotations['{}']", annotation(name)),
            ..ObjectFieldSelector::default()
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let files: Vec<_> = carried.contents.keys().map(file).collect();
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

    use super::{super::files::Word, *};

    fn load() -> SharedLoad {
        let plan = json!({"stages": [], "spacing": "even", "duration_seconds": 10.0, "timeout_seconds": 10.0,
            "connections": 100, "max_in_flight": 100, "threads": 6, "protocol": "http1",
            "expectations": {"statuses": [], "bodies": []}});
        SharedLoad {
            version: "1".to_owned(),
            start_at: Timestamp::from_second(1_800_000_000).unwrap(),
            stripes: 3,
            plan: serde_json::from_value(plan).unwrap(),
            targets: Vec::new(),
        }
    }

    fn made(carried: &Files, keep: bool) -> Value {
        let job = job(&Manifest {
            name: "loadtest-1",
            image: "loadtest:1",
            cpu: &Quantity("2".to_owned()),
            url: Some("http://app-a.sample-app.svc/$(HOME)"),
            carried,
            load: &load(),
            threads: 2,
            deadline: Duration::from_secs(110),
            drain: Duration::from_secs(40),
            keep,
        });
        serde_json::to_value(job).unwrap()
    }

    fn word(flag: &str, value: &str) -> Word {
        Word {
            flag: flag.to_owned(),
            value: Some(value.to_owned()),
        }
    }

    #[test]
    fn each_pod_is_one_stripe_and_none_is_begun_anew() {
        let carried = Files::of(&[word("rate", "90"), word("threads", "2")]).unwrap();
        let job = made(&carried, false);
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
            "one lost stripe would end the others"
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
        assert!(made(&carried, true)["spec"]["ttlSecondsAfterFinished"].is_null());
    }

    /// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>
    #[test]
    fn pods_fit_the_restricted_profile_and_have_no_token() {
        let job = made(&Files::default(), false);
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
    fn files_travel_with_the_pod() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("trace"), "0,80\n10,0\n").unwrap();
        let carried = Files::of(&[word("trace", &path("trace"))]).unwrap();
        let job = made(&carried, false);
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
            let error = Files::of(&[word("body-file", &path(name))]).unwrap_err();
            assert!(error.to_string().contains(says), "{name}: {error}");
        }
    }
}
