//! What a stage deploys, and what its rollback deploys. Both are complete before the first change of the cluster.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::cluster::Cluster;
use super::guard::Guard;
use super::manifests;
use super::record::Verified;

/// The rendered manifests of the release in [`Prepared::overlay`].
const RELEASE: &str = "release.yaml";

/// The manifests of a release, and of the one before.
pub(super) struct Prepared {
    /// Only its owner can read it: an overlay of a user may contain a Secret.
    folder: TempDir,
    /// The manifests of the release: the same text is deployed, verified and recorded.
    pub(super) rendered: String,
    /// The last verified release.
    pub(super) before: Option<Verified>,
}

impl Prepared {
    /// Renders the overlay with the images, and reads the last verified release. `folder` gets the `kustomization.yaml`, for people.
    ///
    /// # Errors
    /// Refuses an overlay that cannot be rendered with the images of one of the two releases. Otherwise a stop, or the API server does
    /// not answer.
    pub(super) fn new(
        guard: &Guard<'_>,
        cluster: &Cluster,
        overlay: &Path,
        images: &BTreeMap<String, String>,
        folder: &Path,
    ) -> Result<Self> {
        manifests::generate(cluster, overlay, images, folder)?;
        let prepared = Self {
            folder: tempfile::tempdir()?,
            rendered: manifests::render(cluster, folder)?,
            before: guard.request(|| Verified::read(cluster))?,
        };
        fs::create_dir(prepared.overlay())?;
        fs::write(prepared.release(), &prepared.rendered)?;
        fs::write(
            prepared.overlay().join("kustomization.yaml"),
            format!("resources: [{RELEASE}]\n"),
        )?;
        if let Some(before) = &prepared.before {
            let stored = guard.request(|| before.manifests(cluster))?;
            // Somebody may have deleted them. The images are the larger part of a release.
            let text = stored.map_or_else(|| prepared.again(cluster, overlay, before), Ok)?;
            fs::write(prepared.rollback(), text)?;
        }
        Ok(prepared)
    }

    /// The overlay with the images of an earlier release.
    fn again(&self, cluster: &Cluster, overlay: &Path, before: &Verified) -> Result<String> {
        let folder = self.folder.path().join("before");
        let generated = manifests::generate(cluster, overlay, &before.images, &folder);
        generated
            .and_then(|()| manifests::render(cluster, &folder))
            .with_context(|| format!("a rollback to {} would not be possible", before.version))
    }

    /// The folder whose `kustomization.yaml` gives the release.
    pub(super) fn overlay(&self) -> PathBuf {
        self.folder.path().join("release")
    }

    /// The file with the manifests of the release.
    pub(super) fn release(&self) -> PathBuf {
        self.overlay().join(RELEASE)
    }

    /// The file with the manifests of the last verified release, if there is one.
    pub(super) fn rollback(&self) -> PathBuf {
        self.folder.path().join("rollback.yaml")
    }
}
