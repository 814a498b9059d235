//! What the load tool's report has to say, so that a proof counts.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::{loadtest, output, printed};
use serde_json::Value;
use testbed::paths;

/// Runs the load tool's proof, and keeps its report.
pub(crate) fn scale(name: &str, expected: &[(&str, u64)], arguments: &[&str]) -> Result<()> {
    let folder = paths::target().join("report");
    std::fs::create_dir_all(&folder)?;
    let file = |extension: &str| folder.join(format!("{name}.{extension}"));
    let mut command = loadtest(&["scale"]);
    command
        .arg("--html")
        .arg(file("html"))
        .arg("--json")
        .arg(file("json"));
    let output = output(command.args(arguments))?;
    println!("{}", printed(&output));
    ensure!(
        output.status.success(),
        "loadtest scale ended with {}: {}",
        output.status,
        printed(&output)
    );
    let page = std::fs::read_to_string(file("html"))?;
    for (hpa, replicas) in expected {
        for part in [
            &format!("{hpa} 2 → {replicas} → 2"),
            "SuccessfulRescale",
            "new pod, over time",
        ] {
            ensure!(page.contains(part), "the page does not have {part:?}");
        }
    }
    proved(&file("json"), expected)
}

/// Holds the replicas that a report proved against `expected`, by HPA, and that the way to every new pod was seen.
pub(crate) fn proved(report: &Path, expected: &[(&str, u64)]) -> Result<()> {
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
    ensure!(times.len() == expected.len(), "not of every HPA: {times:?}");
    for ((hpa, replicas), time) in expected.iter().zip(times) {
        let pods = list(&time["pods"])?;
        ensure!(
            time["hpa"] == *hpa
                && pods.len() as u64 == replicas - 2
                && time["problems"] == serde_json::json!({}),
            "the way to {hpa}'s pods: {time}"
        );
        for pod in pods {
            let times: Vec<Option<f64>> = list(&pod["stages"])?
                .iter()
                .map(|stage| stage["at"]["seconds"].as_f64())
                .collect();
            ensure!(
                times.len() == 10 && times.iter().all(Option::is_some),
                "not every stage was seen, and without a contradiction: {pod}"
            );
        }
    }
    Ok(())
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("no list: {value}"))
}
