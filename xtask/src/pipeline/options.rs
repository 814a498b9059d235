//! The options of `cargo xtask pipeline`.

use std::path::PathBuf;

use clap::Args;
use testbed::paths;

use super::stage::Stage;
use crate::images::Profile;

#[derive(Args)]
pub(crate) struct Options {
    /// The stage to run. Without it: build, then local
    #[arg(long, value_enum)]
    pub(super) stage: Option<Stage>,
    /// The registry that the stage build pushes to (default: the one of the testbed, which it starts)
    #[arg(long, value_name = "REGISTRY")]
    pub(super) registry: Option<String>,
    /// Allow a connection without verified TLS to the registry of the release. To loopback it is always allowed
    #[arg(long)]
    pub(super) insecure: bool,
    /// Sign the pushed images with this private key of cosign, as `cargo xtask images --sign`
    #[arg(long, value_name = "KEY")]
    pub(super) sign: Option<String>,
    /// Build the images, and the load generator that verifies them, without link-time optimisation: for tests
    #[arg(long)]
    pub(super) quick: bool,
    /// The release file, which build writes and the other stages read (default: target/pipeline/release.json)
    #[arg(long, value_name = "FILE")]
    release: Option<PathBuf>,
    /// The context of your kubeconfig (default for local: the testbed; for dev and prod: the cluster in OVERLAY/environment.yaml)
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// The overlay to deploy (default: kubernetes/overlays/STAGE)
    #[arg(long, value_name = "FOLDER")]
    overlay: Option<PathBuf>,
    /// Deploy without a canary: for a repair, if the running release cannot serve a fair comparison
    #[arg(long)]
    pub(super) no_canary: bool,
    /// Options of `loadtest verify`, after `--`
    #[arg(last = true, value_name = "OPTIONS")]
    pub(super) verify: Vec<String>,
}

impl Options {
    pub(super) fn profile(&self) -> Profile {
        if self.quick {
            Profile::Quick
        } else {
            Profile::Release
        }
    }

    /// Whether the cluster of a stage is the testbed.
    pub(super) fn uses_testbed(&self, stage: Stage) -> bool {
        stage == Stage::Local && self.context.is_none()
    }

    pub(super) fn release_file(&self) -> PathBuf {
        let default = || paths::target().join("pipeline/release.json");
        self.release.clone().unwrap_or_else(default)
    }

    pub(super) fn overlay(&self, stage: Stage) -> PathBuf {
        let default = || paths::workspace().join("kubernetes/overlays").join(stage.name());
        self.overlay.clone().unwrap_or_else(default)
    }

    /// The folder of the generated manifests and of the reports. Two stages with the same folder use the same cluster, so its lease
    /// protects the folder too.
    pub(super) fn folder(&self, stage: Stage) -> PathBuf {
        let name = match &self.context {
            None => stage.name().to_owned(),
            // The context of a cluster on EKS may be an ARN, with slashes.
            Some(context) => format!("{stage}-{}", context.replace(['/', ':'], "-")),
        };
        paths::target().join("pipeline").join(name)
    }
}
