//! `loadtest scale` as a process, on a fake cluster that scales.

use std::process::Output;

use tokio::process::Command;

use crate::{scaling_cluster::ScalingCluster, schema};

/// The standard output and the report files of a command.
pub(crate) struct ScaleOutput {
    pub(crate) text: String,
    pub(crate) json: serde_json::Value,
    pub(crate) page: String,
}

impl ScalingCluster {
    /// Runs `loadtest scale` with short phases.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        let kubeconfig = self.fake.serve().await;
        Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args([
                "scale",
                "--plateau",
                "5s",
                "--scale-up-deadline",
                "15s",
                "--scale-down-deadline",
                "15s",
            ])
            .args(["--max-lag", "1s", "--chain-wait", "0s", "--connections", "20"])
            .args(arguments)
            .env("KUBECONFIG", kubeconfig.path())
            .output()
            .await
            .unwrap()
    }

    /// Runs a successful step of 280 requests per second and returns its output.
    pub(crate) async fn prove(&self, more: &[&str]) -> ScaleOutput {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (json, html) = (file("report.json"), file("report.html"));
        let arguments = [
            "--url", &self.url, "--rate", "280", "--json", &json, "--html", &html,
        ];
        let output = self.command(&[&arguments, more].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        ScaleOutput {
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            json: schema::report(&std::fs::read(&json).unwrap()),
            page: std::fs::read_to_string(&html).unwrap(),
        }
    }
}
