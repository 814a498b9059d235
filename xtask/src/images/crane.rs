//! The client of registries: `crane`.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Result, bail};
use testbed::{command, components};

use super::registry::Registry;

/// The deadline of a program that talks to a registry. The largest image has 30 MB.
const DEADLINE: Duration = Duration::from_mins(10);

/// Runs a program that talks to a registry.
///
/// # Errors
/// When it cannot be started, or does not exit within 10 minutes.
pub(super) fn output(command: &mut Command) -> Result<Output> {
    command::output(command, DEADLINE)
}

impl Registry<'_> {
    /// Runs crane for a repository of this registry, and returns its standard output.
    ///
    /// # Errors
    /// When it fails, or does not exit within 10 minutes: the message says what to do.
    pub(crate) fn crane(self, repository: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(components::CRANE.path());
        command
            .args(arguments)
            .args(self.insecure.then_some("--insecure"));
        let output = output(&mut command)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let printed = String::from_utf8_lossy(&output.stderr);
        let printed = error_line(&printed);
        match advice(printed, self.address, repository) {
            Some(advice) => bail!("{advice}\ncrane {}: {printed}", arguments.join(" ")),
            None => bail!("crane {}: {printed}", arguments.join(" ")),
        }
    }
}

/// The error in the output of crane. Before it, there is the progress.
fn error_line(printed: &str) -> &str {
    let mut lines = printed.lines().rev();
    let error = lines.find_map(|line| line.strip_prefix("Error: "));
    error.unwrap_or(printed).trim()
}

/// What to do after an error of crane.
fn advice(printed: &str, registry: &str, repository: &str) -> Option<String> {
    let host = registry.split('/').next().unwrap_or(registry);
    let has = |texts: &[&str]| texts.iter().any(|text| printed.contains(text));
    if has(&[
        "UNAUTHORIZED",
        "DENIED",
        "status code 401",
        "status code 403",
        "no basic auth credentials",
    ]) {
        Some(format!(
            "{host} does not accept the credentials for {repository}: log in with `docker login {host}` or `crane auth login {host}`, \
             and check what this account may read and push"
        ))
    } else if has(&["NAME_UNKNOWN", "NAME_INVALID"]) {
        Some(format!(
            "{registry} has no repository {repository}, and does not create one: create it first"
        ))
    } else if has(&["TAG_INVALID", "ImageTagAlreadyExists", "immutable"]) {
        Some(format!(
            "the tags of {repository} are immutable, and this one is another image: deploy the image by its digest"
        ))
    } else if has(&["server gave HTTP response to HTTPS client", "x509:", "tls:"]) {
        Some(format!(
            "the connection to {host} has no TLS that this machine trusts: `--insecure` allows that, for a registry of your own"
        ))
    } else if has(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "no route to host",
        "network is unreachable",
    ]) {
        Some(format!(
            "{host} cannot be reached: check the address, and that the registry runs"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_crane_is_its_last_line() {
        let printed = "2026/11/30 17:03:11 HEAD request failed, falling back on GET: unexpected status code 404 Not Found\n\
                       Error: GET https://r.io/v2/app-a/manifests/2: UNAUTHORIZED: authentication required\n";
        let error = error_line(printed);
        assert!(error.starts_with("GET https://r.io"), "{error}");
    }

    #[test]
    fn each_kind_of_error_has_an_advice() {
        for (printed, expected) in [
            (
                "PUT https://r.io/v2/app-a/manifests/1: UNAUTHORIZED: authentication required",
                "docker login r.io",
            ),
            (
                "POST https://r.io/v2/app-a/blobs/uploads/: NAME_UNKNOWN: The repository with name 'app-a' does not exist",
                "create it first",
            ),
            (
                "PUT https://r.io/v2/app-a/manifests/1: TAG_INVALID: The image tag '1' already exists in the 'app-a' repository \
                 and cannot be overwritten because the repository is immutable.",
                "by its digest",
            ),
            (
                "Get \"https://r.io/v2/\": dial tcp 192.0.2.1:443: connect: connection refused",
                "cannot be reached",
            ),
            (
                "Get \"https://r.io/v2/\": http: server gave HTTP response to HTTPS client",
                "--insecure",
            ),
        ] {
            let advice = advice(printed, "r.io/team", "app-a").unwrap_or_default();
            assert!(advice.contains(expected), "{printed}: {advice}");
        }
        assert_eq!(advice("unexpected EOF", "r.io", "app-a"), None);
    }
}
