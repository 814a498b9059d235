//! The permissions of each service account are those of a committed file.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use e2e::{deploy, kubectl, with_diagnostics};

/// The committed permissions.
const COMMITTED: &str = include_str!("permissions.txt");

/// The accounts of the overlay, and those that a pod without an account gets.
const ACCOUNTS: [(&str, &str); 6] = [
    ("monitoring", "default"),
    ("monitoring", "prometheus"),
    ("monitoring", "prometheus-adapter"),
    ("sample-app", "app-a"),
    ("sample-app", "app-b"),
    ("sample-app", "default"),
];

/// The namespaces in which the permissions are read.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "monitoring", "sample-app"];

/// The permissions of an account in a namespace: one a line, with single spaces.
fn permissions(account: &str, namespace: &str) -> Result<BTreeSet<String>> {
    let of_account = format!("--as=system:serviceaccount:{account}");
    let list = kubectl(&[
        "-n",
        namespace,
        "auth",
        "can-i",
        "--list",
        "--no-headers",
        &of_account,
    ])?;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(list.lines().map(words).collect())
}

/// Fails unless the accounts have exactly the permissions of a committed file.
///
/// `committed` is the text of `file`, a path below `e2e/tests/cluster`.
pub(crate) fn check(
    committed: &str,
    file: &str,
    accounts: &[(&str, &str)],
    namespaces: &[&str],
) -> Result<()> {
    // Every account has these: `kubectl auth can-i`, and the discovery of the API.
    let common = permissions("default:default", "default")?;
    let mut found = String::new();
    let mut section = |title: &str, lines: &BTreeSet<String>| {
        let _ = writeln!(found, "# {title}");
        for line in lines {
            let _ = writeln!(found, "{line}");
        }
    };
    section("every account, in every namespace", &common);
    for (namespace, name) in accounts {
        for within in namespaces {
            let own = permissions(&format!("{namespace}:{name}"), within)?;
            let title = format!("{namespace}/{name}, in {within}");
            let missing: Vec<_> = common.difference(&own).collect();
            ensure!(missing.is_empty(), "{title}: {missing:?}");
            section(&title, &own.difference(&common).cloned().collect());
        }
    }
    ensure!(
        found == committed,
        "the permissions differ from e2e/tests/cluster/{file}; if that is intended, replace it by:\n{found}"
    );
    Ok(())
}

#[test]
fn each_account_has_the_committed_permissions() {
    with_diagnostics(|| {
        deploy()?;
        check(COMMITTED, "policy/permissions.txt", &ACCOUNTS, &NAMESPACES)
    });
}
