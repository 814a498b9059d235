//! `cargo xtask test`: runs the suites and prints how long each took.

use std::fs::{self, File};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use testbed::{cluster, paths, preflight};

use crate::session::Session;
use crate::suites::{SUITES, Suite};

#[derive(Args)]
pub(crate) struct Options {
    /// Run only this suite; repeat for several
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(SUITES.iter().map(|suite| suite.name)))]
    suite: Vec<String>,
    /// Skip the suites that need the testbed and therefore root. Go stays necessary: it builds kubectl, which renders the manifests
    #[arg(long, conflicts_with = "suite")]
    no_cluster: bool,
    /// Repeat each scaling proof three times, with the release images. Takes about half an hour more
    #[arg(long, conflicts_with = "no_cluster")]
    soak: bool,
}

/// The result of a suite.
struct Outcome {
    suite: &'static Suite,
    took: Duration,
    passed: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let chosen: Vec<_> = SUITES.iter().filter(|suite| options.wants(suite)).collect();
    let on_cluster = chosen.iter().any(|suite| suite.on_cluster);
    if on_cluster {
        preflight::check_machine()?;
    }
    let session = Session::new(options.soak)?;
    // Held until this process exits. Every cluster of the tests stops when this process exits, for any reason.
    let owner = on_cluster.then(hold_ownership).transpose()?;
    if on_cluster {
        cluster::down()?;
    }
    let mut outcomes = Vec::new();
    let mut failure = None;
    for suite in chosen {
        println!("\n== suite {}: {}", suite.name, suite.checks);
        let start = Instant::now();
        failure = (suite.run)(&session).err();
        outcomes.push(Outcome {
            suite,
            took: start.elapsed(),
            passed: failure.is_none(),
        });
        if failure.is_some() {
            break;
        }
    }
    if on_cluster {
        cluster::down()?;
    }
    drop(owner);
    print!("\n{}", table(&outcomes));
    match failure {
        Some(error) if on_cluster => Err(error.context(format!(
            "the logs of the testbed's last processes are in {}",
            paths::logs().display()
        ))),
        Some(error) => Err(error),
        None => {
            println!("passed");
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Options {
    fn wants(&self, suite: &Suite) -> bool {
        let named = |name: &str| self.suite.iter().any(|wanted| wanted == name);
        if self.suite.is_empty() {
            return !(self.no_cluster && suite.on_cluster);
        }
        // Suites on the cluster run what the suite `programs` builds.
        let needs_programs = SUITES.iter().any(|other| other.on_cluster && named(other.name));
        named(suite.name) || (suite.name == "programs" && needs_programs)
    }
}

fn hold_ownership() -> Result<File> {
    fs::create_dir_all(paths::cache()).context("cannot create target/testbed")?;
    let owner = File::create(paths::owner_lock())?;
    if owner.try_lock().is_err() {
        bail!("another `cargo xtask test` of this checkout is running: wait until it exits");
    }
    Ok(owner)
}

fn table(outcomes: &[Outcome]) -> String {
    let mut lines = vec![format!("{:<10}{:>10}{:>10}", "suite", "took", "budget")];
    for Outcome { suite, took, passed } in outcomes {
        let remark = match (passed, *took > suite.budget) {
            (false, _) => "  FAILED",
            (true, true) => "  WARNING: over its budget",
            (true, false) => "",
        };
        lines.push(format!(
            "{:<10}{:>10}{:>10}{remark}",
            suite.name,
            clock(*took),
            clock(suite.budget)
        ));
    }
    let (took, budget) = outcomes
        .iter()
        .fold((Duration::ZERO, Duration::ZERO), |sum, outcome| {
            (sum.0 + outcome.took, sum.1 + outcome.suite.budget)
        });
    lines.push(format!("{:<10}{:>10}{:>10}", "all", clock(took), clock(budget)));
    lines.join("\n") + "\n"
}

/// As in `12:05`: minutes and seconds.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, seconds: u64, passed: bool) -> Outcome {
        let suite = SUITES.iter().find(|suite| suite.name == name).unwrap();
        Outcome {
            suite,
            took: Duration::from_secs(seconds),
            passed,
        }
    }

    fn line_of<'a>(table: &'a str, name: &str) -> &'a str {
        table.lines().find(|line| line.starts_with(name)).unwrap()
    }

    #[test]
    fn the_table_has_the_time_of_each_suite_and_the_sum() {
        let table = table(&[outcome("lints", 65, true), outcome("host", 200, false)]);
        assert!(line_of(&table, "lints").contains("1:05"), "{table}");
        assert!(line_of(&table, "host").ends_with("FAILED"), "{table}");
        assert!(line_of(&table, "all").contains("4:25"), "{table}");
        assert!(!table.contains("WARNING"), "{table}");
    }

    #[test]
    fn a_suite_over_its_budget_is_a_warning() {
        let table = table(&[outcome("lints", 3600, true), outcome("host", 1, true)]);
        assert!(line_of(&table, "lints").contains("WARNING"), "{table}");
        assert!(!line_of(&table, "host").contains("WARNING"), "{table}");
    }

    #[test]
    fn a_suite_on_the_cluster_also_selects_programs_and_no_cluster_selects_the_others() {
        let options = |suites: &[&str], no_cluster| Options {
            suite: suites.iter().map(ToString::to_string).collect(),
            no_cluster,
            soak: false,
        };
        let chosen = |options: Options| -> Vec<_> {
            let suites = SUITES.iter().filter(|suite| options.wants(suite));
            suites.map(|suite| suite.name).collect()
        };
        assert_eq!(chosen(options(&["chain"], false)), ["programs", "chain"]);
        assert_eq!(chosen(options(&["host"], false)), ["host"]);
        assert_eq!(chosen(options(&[], true)), ["tools", "lints", "host"]);
        assert_eq!(chosen(options(&[], false)).len(), SUITES.len());
    }
}
