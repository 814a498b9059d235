//! How the process of an image starts, and its labels: the `config` object of an image.

use std::collections::BTreeMap;
use std::time::Duration;

/// How the process of the image starts. Each field is an instruction of a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `ENTRYPOINT`
    pub entrypoint: Vec<String>,
    /// `CMD`
    pub command: Vec<String>,
    /// `USER`. Empty means root.
    pub user: String,
    /// `WORKDIR`
    pub working_directory: String,
    /// `ENV`, each as `NAME=value`.
    pub environment: Vec<String>,
    /// `EXPOSE`: TCP ports.
    pub ports: Vec<u16>,
    /// `HEALTHCHECK`
    pub health_check: Option<HealthCheck>,
    /// `LABEL`
    pub labels: BTreeMap<String, String>,
}

/// How Docker checks a running container. Kubernetes ignores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The program and its arguments, run without a shell.
    pub command: Vec<String>,
    /// The time between two checks.
    pub interval: Duration,
    /// The time after which a check fails.
    pub timeout: Duration,
    /// The time after the start during which failures do not count.
    pub start_period: Duration,
    /// The number of failures in a row that make a container unhealthy.
    pub retries: u32,
}

impl Config {
    /// The `config` object of an image, in the format of Docker. Instructions that the image does not use are left out.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({
            "Entrypoint": self.entrypoint,
            "Cmd": self.command,
            "User": self.user,
            "WorkingDir": self.working_directory,
            "Env": self.environment,
        });
        if !self.ports.is_empty() {
            let ports = self
                .ports
                .iter()
                .map(|port| (format!("{port}/tcp"), serde_json::json!({})));
            json["ExposedPorts"] = ports.collect::<serde_json::Map<_, _>>().into();
        }
        if !self.labels.is_empty() {
            json["Labels"] = serde_json::json!(self.labels);
        }
        if let Some(check) = &self.health_check {
            let test: Vec<_> = ["CMD"]
                .into_iter()
                .chain(check.command.iter().map(String::as_str))
                .collect();
            // Durations are whole nanoseconds. None of them is longer than 2^64 ns.
            let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
            json["Healthcheck"] = serde_json::json!({
                "Test": test,
                "Interval": nanoseconds(check.interval),
                "Timeout": nanoseconds(check.timeout),
                "StartPeriod": nanoseconds(check.start_period),
                "Retries": check.retries,
            });
        }
        json
    }
}
