//! The options of `cargo xtask pipeline`.

use std::path::PathBuf;

use clap::Args;
use testbed::paths;

use super::stage::Stage;
use crate::images::Profile;

/// The flags of `loadtest verify` with the addresses of the testbed.
const ADDRESSES: &[(&str, &str)] = &[
    ("--http", "http://127.0.0.1:30080"),
    ("--https", "https://127.0.0.1:30443"),
    ("--load-url", "http://127.0.0.1:30080/hello"),
];

#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, independent of the others"
)]
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
    /// Refuse to deploy a release whose images are not signed by this key of cosign: a file with the public key, or the address of a key
    /// management service
    #[arg(long, value_name = "KEY")]
    pub(super) verify_key: Option<String>,
    /// Build the images, and the load generator that verifies them, without link-time optimisation: for tests
    #[arg(long)]
    pub(super) quick: bool,
    /// The release file, which build writes and the other stages read (default: target/pipeline/release.json)
    #[arg(long, value_name = "FILE")]
    release: Option<PathBuf>,
    /// The context of your kubeconfig (default for local: the testbed; for dev and prod: the cluster in OVERLAY/environment.yaml)
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// Run dev and prod on the testbed too, which it starts and prepares: a registry, Karpenter, network policies, a node for the system
    #[arg(long, conflicts_with = "context")]
    testbed: bool,
    /// The overlay to deploy (default: kubernetes/overlays/STAGE; with --testbed for dev and prod: kubernetes/clusters/testbed/STAGE)
    #[arg(long, value_name = "FOLDER")]
    overlay: Option<PathBuf>,
    /// Deploy without a canary: for a repair, if the running release cannot serve a fair comparison
    #[arg(long)]
    pub(super) no_canary: bool,
    /// Options of `loadtest verify`, after `--`
    #[arg(last = true, value_name = "OPTIONS")]
    verify: Vec<String>,
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
        self.testbed || (stage == Stage::Local && self.context.is_none())
    }

    /// The options of `loadtest verify`: those of the user, and where the testbed has the pair.
    pub(super) fn verify_flags(&self, stage: Stage) -> Vec<String> {
        let mut flags = self.verify.clone();
        let given = |name: &str| {
            self.verify
                .iter()
                .any(|flag| flag.split('=').next() == Some(name))
        };
        if self.testbed && stage != Stage::Local {
            for (name, address) in ADDRESSES {
                // HTTPS is tested, and the load of dev goes to HTTP: the handshakes of 378 requests per second would need the CPUs of the pods.
                let is_for_stage = *name != "--load-url" || stage == Stage::Dev;
                if is_for_stage && !given(name) {
                    flags.push(format!("{name}={address}"));
                }
            }
        }
        flags
    }

    pub(super) fn release_file(&self) -> PathBuf {
        let default = || paths::target().join("pipeline/release.json");
        self.release.clone().unwrap_or_else(default)
    }

    pub(super) fn overlay(&self, stage: Stage) -> PathBuf {
        let parent = if self.testbed && stage != Stage::Local {
            "kubernetes/clusters/testbed"
        } else {
            "kubernetes/overlays"
        };
        let default = || paths::workspace().join(parent).join(stage.name());
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn parse(arguments: &[&str]) -> Options {
        let arguments = [&["pipeline"], arguments].concat();
        Command::try_parse_from(arguments).ok().unwrap().options
    }

    #[test]
    fn the_testbed_runs_every_stage_that_is_asked_for_with_its_overlays_and_addresses() {
        let elsewhere = parse(&[]);
        assert!(elsewhere.uses_testbed(Stage::Local) && !elsewhere.uses_testbed(Stage::Prod));
        assert!(
            elsewhere
                .overlay(Stage::Prod)
                .ends_with("kubernetes/overlays/prod")
        );
        assert!(elsewhere.verify_flags(Stage::Prod).is_empty());

        let testbed = parse(&["--testbed", "--", "--https", "https://localhost:30443"]);
        assert!(testbed.uses_testbed(Stage::Prod));
        assert!(
            testbed
                .overlay(Stage::Local)
                .ends_with("kubernetes/overlays/local")
        );
        assert!(testbed.overlay(Stage::Dev).join("kustomization.yaml").exists());
        assert!(
            testbed
                .overlay(Stage::Prod)
                .ends_with("kubernetes/clusters/testbed/prod")
        );
        let given = ["--https", "https://localhost:30443"];
        assert_eq!(testbed.verify_flags(Stage::Local), given);
        let http = "--http=http://127.0.0.1:30080";
        assert_eq!(testbed.verify_flags(Stage::Prod), [given[0], given[1], http]);
        let load = "--load-url=http://127.0.0.1:30080/hello";
        assert_eq!(testbed.verify_flags(Stage::Dev), [given[0], given[1], http, load]);

        let both = ["pipeline", "--testbed", "--context", "minikube"];
        assert!(Command::try_parse_from(both).is_err());
    }
}
