//! Runs the scaling proof `loadtest scale`, and checks its report.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use e2e::{PROOF_DEADLINE, loadtest, text};
use serde_json::Value;
use testbed::{command, paths};

/// The file of a report. `target/report` keeps it after the test.
pub(crate) fn path(name: &str, extension: &str) -> PathBuf {
    paths::target().join("report").join(format!("{name}.{extension}"))
}

/// Runs `loadtest scale`, which must prove that each HPA scales from 2 to the expected replicas and back to 2.
pub(crate) fn prove(name: &str, expected: &[(&str, u64)], arguments: &[&str]) -> Result<()> {
    std::fs::create_dir_all(paths::target().join("report"))?;
    let file = |extension: &str| path(name, extension);
    let mut command = loadtest(&["scale"]);
    command
        .arg("--html")
        .arg(file("html"))
        .arg("--json")
        .arg(file("json"));
    let output = command::output(command.args(arguments), PROOF_DEADLINE)?;
    println!("{}", text(&output));
    ensure!(
        output.status.success(),
        "loadtest scale: {}: {}",
        output.status,
        text(&output)
    );
    let page = std::fs::read_to_string(file("html"))?;
    for (hpa, replicas) in expected {
        for part in [
            &format!("{hpa} 2 → {replicas} → 2"),
            "SuccessfulRescale",
            "new pod, over time",
        ] {
            ensure!(page.contains(part), "the page does not contain {part:?}");
        }
    }
    check_report(&file("json"), expected)
}

/// Checks that a report proves the expected replicas of each HPA, and has every stage of every new pod.
pub(crate) fn check_report(report: &Path, expected: &[(&str, u64)]) -> Result<()> {
    let report: Value = serde_json::from_slice(&std::fs::read(report)?)?;
    let run = &report["runs"][0];
    let proved: Vec<_> = list(&run["expected"])?
        .iter()
        .map(|hpa| {
            (
                hpa["hpa"].as_str().unwrap_or_default(),
                hpa["replicas"].as_u64().unwrap_or_default(),
            )
        })
        .collect();
    ensure!(proved == expected, "the report proves {proved:?}");
    ensure!(
        report["verdict"] == "passed" && run["step"]["requests"]["failed"] == 0,
        "{}",
        report["verdict"]
    );
    let times = list(&run["time_to_scale"])?;
    ensure!(times.len() == expected.len(), "an HPA is missing: {times:?}");
    for ((hpa, replicas), time) in expected.iter().zip(times) {
        let pods = list(&time["pods"])?;
        ensure!(
            time["hpa"] == *hpa
                && pods.len() as u64 == replicas - 2
                && time["problems"] == serde_json::json!({}),
            "the stages of the pods of {hpa}: {time}"
        );
        for pod in pods {
            let times: Vec<Option<f64>> = list(&pod["stages"])?
                .iter()
                .map(|stage| stage["at"]["seconds"].as_f64())
                .collect();
            ensure!(
                times.len() == 10 && times.iter().all(Option::is_some),
                "a stage is missing: {pod}"
            );
        }
    }
    Ok(())
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("not a list: {value}"))
}
