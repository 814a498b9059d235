//! A registry with the images of the first node, from which the added nodes pull.
//!
//! It answers from the content store of containerd, so that no image is stored twice or imported on each node. It implements the
//! "pull" category of the OCI Distribution Specification 1.1 (<https://github.com/opencontainers/distribution-spec>), as far as
//! containerd uses it. containerd names the registry of the original image in the parameter `ns`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Deserialize;
use tower_http::services::ServeFile;

use crate::progress;

/// The folder of containerd's content, one file for each digest.
const CONTENT: &str = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256";

/// The deadline of one call of containerd.
const DEADLINE: Duration = Duration::from_secs(30);

/// The media type of content that is not the manifest of an image by name.
const OCTETS: &str = "application/octet-stream";

/// The parameters of a request.
#[derive(Deserialize)]
struct Parameters {
    /// The registry of the image: `docker.io`.
    #[serde(default)]
    ns: String,
}

/// Content of containerd.
struct Stored {
    /// Hexadecimal digits of SHA-256.
    digest: String,
    media_type: String,
}

/// The routes of the registry.
pub(super) fn router() -> Router {
    Router::new()
        .route("/v2/", get(|| async {}))
        .route("/v2/{*path}", get(answer))
}

async fn answer(
    Path(path): Path<String>,
    Query(Parameters { ns }): Query<Parameters>,
    request: Request,
) -> Response {
    let stored = match tokio::task::spawn_blocking(move || find(&ns, &path)).await {
        Ok(Ok(Some(stored))) => stored,
        Ok(Ok(None)) => return StatusCode::NOT_FOUND.into_response(),
        Ok(Err(error)) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let file = PathBuf::from(CONTENT).join(&stored.digest);
    let mut response = match ServeFile::new(file).try_call(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-type", stored.media_type),
        ("docker-content-digest", format!("sha256:{}", stored.digest)),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Finds the content of a path: `NAME/manifests/TAG`, `NAME/manifests/DIGEST` or `NAME/blobs/DIGEST`.
fn find(registry: &str, path: &str) -> Result<Option<Stored>> {
    match parse(path) {
        Some((_, Content::Digest(digest))) => Ok(Some(Stored {
            digest: digest.to_owned(),
            media_type: OCTETS.to_owned(),
        })),
        Some((name, Content::Tag(tag))) => find_image(&format!("{registry}/{name}:{tag}")),
        None => Ok(None),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Content<'a> {
    Digest(&'a str),
    Tag(&'a str),
}

/// Splits a path into the name of the image and its content.
fn parse(path: &str) -> Option<(&str, Content<'_>)> {
    let (rest, reference) = path.rsplit_once('/')?;
    let (name, kind) = rest.rsplit_once('/')?;
    match (kind, reference.strip_prefix("sha256:")) {
        ("manifests" | "blobs", Some(digest)) => {
            let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_digest.then_some((name, Content::Digest(digest)))
        }
        ("manifests", None) => Some((name, Content::Tag(reference))),
        _ => None,
    }
}

/// Finds the manifest of an image of the first node.
fn find_image(reference: &str) -> Result<Option<Stored>> {
    let mut ctr = Command::new("ctr");
    ctr.args(["--namespace=k8s.io", "images", "ls"])
        .arg(format!("name=={reference}"));
    parse_image(&progress::run_within(DEADLINE, &mut ctr)?)
}

/// Parses the output of `ctr images ls`: a heading, then name, media type, digest and more.
fn parse_image(listing: &str) -> Result<Option<Stored>> {
    let Some(line) = listing.lines().nth(1) else {
        return Ok(None);
    };
    let mut columns = line.split_whitespace().skip(1);
    let media_type = columns.next().context("no media type")?;
    let digest = columns
        .next()
        .and_then(|digest| digest.strip_prefix("sha256:"))
        .with_context(|| format!("`ctr images ls` printed no digest: {line}"))?;
    Ok(Some(Stored {
        digest: digest.to_owned(),
        media_type: media_type.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_an_image_and_a_tag_or_a_digest() {
        let digest = "0123456789abcdef".repeat(4);
        for kind in ["blobs", "manifests"] {
            assert_eq!(
                parse(&format!("library/app-a/{kind}/sha256:{digest}")),
                Some(("library/app-a", Content::Digest(&digest)))
            );
        }
        assert_eq!(
            parse("kube-proxy/manifests/v1.35.4"),
            Some(("kube-proxy", Content::Tag("v1.35.4")))
        );
        for path in [
            "a/blobs/latest",
            "a/manifests/sha256:../../etc",
            "a/tags/list",
            "a",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    #[test]
    fn the_listing_of_containerd_is_parsed() {
        let heading = "REF TYPE DIGEST SIZE PLATFORMS LABELS \n";
        let line = "docker.io/library/app-a:1 application/vnd.oci.image.manifest.v1+json sha256:abc 7.4 MiB linux/amd64 - \n";
        let stored = parse_image(&format!("{heading}{line}")).unwrap().unwrap();
        assert_eq!(stored.digest, "abc");
        assert_eq!(stored.media_type, "application/vnd.oci.image.manifest.v1+json");
        assert!(parse_image(heading).unwrap().is_none());
    }
}
