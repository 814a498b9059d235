//! What clusters on EKS have and the testbed does not run: the sources of their controllers, with the definitions of kinds and the
//! charts, and of the program that creates them.

use std::path::PathBuf;

use anyhow::Result;

use crate::{components, definitions};

/// The source of Karpenter for AWS.
///
/// # Errors
/// When Go can neither find nor download the module.
pub fn karpenter() -> Result<PathBuf> {
    components::upstream_source("karpenter-aws", "github.com/aws/karpenter-provider-aws")
}

/// The source of the AWS Load Balancer Controller, which creates the load balancers.
///
/// # Errors
/// When Go can neither find nor download the module.
pub fn load_balancer_controller() -> Result<PathBuf> {
    components::upstream_source(
        "aws-load-balancer-controller",
        "sigs.k8s.io/aws-load-balancer-controller",
    )
}

/// The source of eksctl, which creates the clusters.
///
/// # Errors
/// When Go can neither find nor download the module.
pub fn eksctl() -> Result<PathBuf> {
    components::upstream_source("eksctl", "github.com/weaveworks/eksctl")
}

/// The files with the definitions of the kinds that both controllers read.
///
/// # Errors
/// When Go can neither find nor download a module, or a folder cannot be listed.
pub fn definitions() -> Result<Vec<PathBuf>> {
    let mut files = definitions::in_folder(&karpenter()?.join("pkg/apis/crds"))?;
    files.extend(definitions::in_folder(
        &load_balancer_controller()?.join("config/crd/bases"),
    )?);
    Ok(files)
}
