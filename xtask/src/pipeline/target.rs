//! The cluster of a stage, and the images that its nodes pull.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use testbed::{karpenter, network_policy, registry as testbed_registry, system_node};

use super::cluster::{Cluster, Environment};
use super::options::Options;
use super::outcome::refused;
use super::registry;
use super::release::Release;
use super::stage::Stage;

/// Returns the cluster of a stage. Starts the testbed, unless it is up.
///
/// # Errors
/// Refuses a cluster that is unknown or does not answer.
pub(super) fn cluster(options: &Options, stage: Stage, overlay: &Path) -> Result<Cluster> {
    if options.uses_testbed(stage) {
        drop(testbed::cluster::up(None)?);
        testbed_registry::start()?;
        return Cluster::new(None);
    }
    let named = options
        .context
        .clone()
        .map_or_else(|| Environment::read(overlay).map(|found| found.cluster), Ok);
    let context = named.map_err(|error| {
        refused(format!(
            "the context of the cluster is unknown: pass it with --context\n{error:#}"
        ))
    })?;
    let cluster = Cluster::new(Some(context))?;
    cluster.check()?;
    Ok(cluster)
}

/// Gives the testbed what the overlays of a stage expect, before anything is deployed. Another cluster has it already.
///
/// # Errors
/// When Karpenter or the agent for network policies cannot be built, or the API server does not answer.
pub(super) fn prepare(options: &Options, stage: Stage) -> Result<()> {
    if !options.uses_testbed(stage) {
        return Ok(());
    }
    match stage {
        // Its one node runs everything.
        Stage::Build | Stage::Local => system_node::release(),
        Stage::Dev | Stage::Prod => {
            karpenter::prepare()?;
            network_policy::enforce()?;
            system_node::reserve()
        }
    }
}

/// Returns the images of the release, as the nodes of the cluster pull them.
///
/// # Errors
/// Refuses a release whose images they cannot pull.
pub(super) fn images(options: &Options, stage: Stage, release: &Release) -> Result<BTreeMap<String, String>> {
    let own = testbed_registry::name();
    let is_own = release.registry == own;
    if is_own && !options.uses_testbed(stage) {
        return Err(refused(format!(
            "only the testbed can pull from {own}: build the release with `--stage build --registry REGISTRY`"
        )));
    }
    registry::check(release, options.insecure)?;
    if let Some(key) = &options.verify_key {
        registry::check_signatures(release, key, options.insecure)?;
    }
    if options.uses_testbed(stage) && !is_own {
        // The testbed has no route out of the machine.
        return registry::copy(release, &own, options.insecure);
    }
    Ok(release.images.clone())
}
