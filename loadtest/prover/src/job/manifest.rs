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
mod tests;
