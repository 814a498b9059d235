//! The release file: the digests that a build pushed, and the stages that they have passed.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outcome::refused;
use super::stage::Stage;

/// The first characters of a commit that a version contains: as the tags of the images.
const SHORT: usize = 12;

/// A release, on its way through the stages. Later stages add to `passed` and change nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Release {
    /// The version of the workspace, with the commit: `0.1.0+0123456789ab`.
    pub(super) version: String,
    /// The commit of the whole source.
    pub(super) revision: String,
    /// The registry that the images were pushed to.
    pub(super) registry: String,
    /// The images by their names, each with its reference by digest.
    pub(super) images: BTreeMap<String, String>,
    /// The stages that the release has passed.
    pub(super) passed: Vec<Passed>,
}

/// A stage that a release has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Passed {
    pub(super) stage: Stage,
    /// When it passed (RFC 3339).
    pub(super) time: String,
}

impl Release {
    /// The release of a commit, whose images were pushed with this record.
    ///
    /// # Errors
    /// When the record is not that of `cargo xtask images --push`.
    pub(super) fn of(revision: &str, record: &Value) -> Result<Self> {
        let text = |value: &Value, field: &str| {
            let found = value[field].as_str().map(str::to_owned);
            found.with_context(|| format!("the record of the push has no {field}"))
        };
        let images = record["images"]
            .as_array()
            .context("the record of the push has no images")?;
        let images = images
            .iter()
            .map(|image| Ok((text(image, "name")?, text(image, "reference")?)))
            .collect::<Result<_>>()?;
        let short = revision.get(..SHORT).unwrap_or(revision);
        Ok(Self {
            version: format!("{}+{short}", env!("CARGO_PKG_VERSION")),
            revision: revision.to_owned(),
            registry: text(record, "registry")?,
            images,
            passed: Vec::new(),
        })
    }

    /// Reads a release that may enter `stage`.
    ///
    /// # Errors
    /// Refuses a missing or incomplete file, an image without a digest, and a release that has not passed the stage before.
    pub(super) fn for_stage(path: &Path, stage: Stage) -> Result<Self> {
        let shown = path.display();
        let text = fs::read(path).map_err(|error| {
            refused(format!(
                "the release file {shown} cannot be read ({error}): write it with `--stage build`"
            ))
        })?;
        let release: Self = serde_json::from_slice(&text).map_err(|error| {
            refused(format!(
                "{shown} is not a release file ({error}): write it again with `--stage build`"
            ))
        })?;
        for (name, reference) in &release.images {
            if split(reference).is_none() {
                return Err(refused(format!(
                    "{shown} names {reference} as {name}, which is no digest, so it may not be what was tested: write the file again \
                     with `--stage build`"
                )));
            }
        }
        if let Some(previous) = stage.previous()
            && !release.passed.iter().any(|passed| passed.stage == previous)
        {
            return Err(refused(format!(
                "{} has not passed the stage {previous}, which comes before {stage}: run `cargo xtask pipeline --stage {previous}` first",
                release.version
            )));
        }
        Ok(release)
    }

    /// Records that the release has passed a stage now.
    pub(super) fn pass(&mut self, stage: Stage, time: String) {
        self.passed.retain(|passed| passed.stage != stage);
        self.passed.push(Passed { stage, time });
    }

    /// Notes in the file that this release has passed a stage now.
    ///
    /// # Errors
    /// When the file has another release by now, or cannot be written.
    pub(super) fn note(&self, path: &Path, stage: Stage, time: String) -> Result<()> {
        let written = fs::read(path).ok();
        let written: Option<Self> = written.and_then(|text| serde_json::from_slice(&text).ok());
        let same =
            written.filter(|written| written.revision == self.revision && written.images == self.images);
        let mut release = same.with_context(|| {
            format!(
                "{} was replaced meanwhile: {} passed the stage {stage}, and is not noted there",
                path.display(),
                self.version
            )
        })?;
        release.pass(stage, time);
        release.write(path)
    }

    /// Writes the file, which appears only when it is complete.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let write = || -> Result<()> {
            fs::create_dir_all(folder)?;
            let new = tempfile::NamedTempFile::new_in(folder)?;
            fs::write(new.path(), serde_json::to_string_pretty(self)? + "\n")?;
            // Every user may read it: the command may run as root, and another user archives the file.
            new.as_file().set_permissions(Permissions::from_mode(0o644))?;
            new.persist(path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The repository and the digest of a reference: `r.io/app-a` and `sha256:…`.
pub(super) fn split(reference: &str) -> Option<(&str, &str)> {
    let (repository, digest) = reference.split_once('@')?;
    let hash = digest.strip_prefix("sha256:")?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hash.then_some((repository, digest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release() -> Release {
        let record = json!({
            "revision": "of the images",
            "registry": "r.io/team",
            "images": [{ "name": "app-a", "reference": format!("r.io/team/app-a@sha256:{}", "a".repeat(64)), "tag": "1" }],
        });
        let mut release = Release::of(&"0123456789abcdef".repeat(2), &record).unwrap();
        release.pass(Stage::Build, "2026-01-01T00:00:00Z".to_owned());
        release
    }

    fn refusal(path: &Path, stage: Stage) -> String {
        let error = Release::for_stage(path, stage).unwrap_err();
        assert_eq!(super::super::outcome::exit_code(&error), 3, "{error:#}");
        error.to_string()
    }

    #[test]
    fn a_release_goes_through_the_stages_in_order_and_keeps_its_digests() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/release.json");
        let mut release = release();
        assert_eq!(
            release.version,
            format!("{}+0123456789ab", env!("CARGO_PKG_VERSION"))
        );
        release.write(&path).unwrap();
        assert_eq!(Release::for_stage(&path, Stage::Local).unwrap(), release);
        assert!(refusal(&path, Stage::Dev).contains("`cargo xtask pipeline --stage local`"));
        let before = release.images.clone();
        release.pass(Stage::Local, "2026-01-01T00:01:00Z".to_owned());
        release.pass(Stage::Local, "2026-01-01T00:02:00Z".to_owned());
        release.write(&path).unwrap();
        let read = Release::for_stage(&path, Stage::Dev).unwrap();
        assert_eq!(read.images, before);
        assert_eq!(read.passed.len(), 2, "{read:?}");
        assert!(refusal(&path, Stage::Prod).contains("--stage dev"));
    }

    #[test]
    fn every_user_can_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("release.json");
        release().write(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o044, 0o044, "{mode:o}");
    }

    #[test]
    fn a_stage_is_noted_for_the_release_that_passed_it_and_for_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("release.json");
        let time = || "2026-01-01T00:01:00Z".to_owned();
        let (first, mut second) = (release(), release());
        second.revision = "f".repeat(32);
        first.write(&path).unwrap();
        first.note(&path, Stage::Local, time()).unwrap();
        assert_eq!(Release::for_stage(&path, Stage::Dev).unwrap().passed.len(), 2);
        second.write(&path).unwrap();
        let error = first.note(&path, Stage::Dev, time()).unwrap_err().to_string();
        assert!(error.contains("was replaced meanwhile"), "{error}");
        assert_eq!(Release::for_stage(&path, Stage::Local).unwrap(), second);
    }

    #[test]
    fn a_file_without_digests_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("release.json");
        assert!(refusal(&path, Stage::Local).contains("`--stage build`"));
        fs::write(&path, "{}").unwrap();
        assert!(refusal(&path, Stage::Local).contains("not a release file"));
        for reference in ["r.io/app-a:latest", "r.io/app-a@sha256:12", "r.io/app-a"] {
            let mut release = release();
            release.images.insert("app-a".to_owned(), reference.to_owned());
            release.write(&path).unwrap();
            assert!(
                refusal(&path, Stage::Local).contains("which is no digest"),
                "{reference}"
            );
        }
    }
}
