//! Executes the Jenkinsfile with stand-ins for the steps of Jenkins: the Maven project `jenkins/test`.

use std::process::Command;

use anyhow::Result;
use testbed::{paths, preflight, progress};

/// Runs the tests of the Jenkinsfile. Maven downloads what the project pins, and needs no network once it has it.
///
/// # Errors
/// When Java or Maven cannot be installed. When a test fails: the message contains the end of the output.
pub(crate) fn test() -> Result<()> {
    preflight::install(
        &[("default-jdk-headless", "javac"), ("maven", "mvn")],
        "only the tests of the Jenkinsfile need them: jenkins/test",
    )?;
    progress::step(
        "execute the Jenkinsfile with stand-ins for the steps of Jenkins",
        || {
            let mut maven = Command::new("mvn");
            maven
                .current_dir(paths::workspace().join("jenkins/test"))
                .args(["--quiet", "--batch-mode", "-Dstyle.color=never"])
                .arg(format!(
                    "-DbuildDirectory={}",
                    paths::target().join("jenkins-test").display()
                ))
                .arg("test");
            progress::run(&mut maven).map(drop)
        },
    )
}
