//! A command's result for CI systems and pull requests: one test case per check, as JUnit XML or Markdown.

use std::fmt::Write as _;

use anyhow::Context;
use askama::Template;
use jiff::Timestamp;

/// The result of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseStatus {
    /// The check holds.
    Passed,
    /// The check does not hold.
    Failed,
    /// The run ended before the check.
    Skipped,
}

/// One check: a condition that the run must meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The condition; identical in every run of the same command.
    pub name: String,
    /// Whether the condition holds.
    pub status: CaseStatus,
    /// The measured value, or the reasons for a failure.
    pub observed: String,
    /// How long the check took, in seconds; `None` if it judges a common measurement.
    pub seconds: Option<f64>,
}

impl Case {
    /// Creates a case that fails if there are reasons for a failure, and otherwise passes with `observed`.
    #[must_use]
    pub fn from_failures(name: &str, failures: &[String], observed: &str) -> Self {
        let (status, observed) = if failures.is_empty() {
            (CaseStatus::Passed, observed.to_owned())
        } else {
            (CaseStatus::Failed, failures.join("; "))
        };
        Self {
            name: name.to_owned(),
            status,
            observed,
            seconds: None,
        }
    }
}

/// The result of a command.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The command, for example `loadtest run`.
    pub name: &'static str,
    /// The targets, for example `GET http://host/hello`.
    pub subject: String,
    /// The verdict in a few words.
    pub headline: String,
    /// When the run began; `None` if it sent no load.
    pub began_at: Option<Timestamp>,
    /// The duration in seconds.
    pub seconds: f64,
    /// The checks.
    pub cases: Vec<Case>,
    /// Facts that change the meaning of the numbers, although no check fails.
    pub warnings: Vec<String>,
    /// Labels and measured values for the reader.
    pub facts: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "junit.xml")]
struct Junit<'a> {
    suite: &'a Suite,
    failures: usize,
    skipped: usize,
}

impl Suite {
    fn count(&self, status: CaseStatus) -> usize {
        self.cases.iter().filter(|case| case.status == status).count()
    }

    /// Returns the suite as JUnit XML.
    ///
    /// # Errors
    /// When the template fails, which is a bug in this program.
    pub fn junit(&self) -> anyhow::Result<String> {
        let text = Junit {
            suite: self,
            failures: self.count(CaseStatus::Failed),
            skipped: self.count(CaseStatus::Skipped),
        }
        .render()
        .context("rendering the JUnit report")?;
        // XML 1.0 cannot represent other control characters.
        Ok(text.replace(
            |char: char| char.is_control() && !"\n\t".contains(char),
            "\u{fffd}",
        ))
    }

    /// Returns the suite as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "### {}: {}\n\n{}\n\n",
            self.name,
            self.headline,
            inline_code(&self.subject)
        );
        let mut line = |line: std::fmt::Arguments<'_>| {
            writeln!(text, "{line}").expect("writing to a String does not fail");
        };
        for warning in &self.warnings {
            line(format_args!("⚠ {}\n", table_cell(warning)));
        }
        line(format_args!("| | |\n|---|---|"));
        for (label, value) in &self.facts {
            line(format_args!("| {label} | {} |", table_cell(value)));
        }
        line(format_args!("\n| | check | observed |\n|---|---|---|"));
        for case in &self.cases {
            let sign = match case.status {
                CaseStatus::Passed => "✅",
                CaseStatus::Failed => "❌",
                CaseStatus::Skipped => "⏭",
            };
            line(format_args!(
                "| {sign} | {} | {} |",
                table_cell(&case.name),
                table_cell(&case.observed)
            ));
        }
        text
    }
}

/// Escapes text for a cell of a Markdown table.
fn table_cell(text: &str) -> String {
    text.replace('|', "\\|")
        .replace(['\n', '\r'], " ")
        .replace('<', "&lt;")
}

/// Formats text as inline Markdown code.
fn inline_code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite() -> Suite {
        let case = |name: &str, status, observed: &str| Case {
            name: name.to_owned(),
            status,
            observed: observed.to_owned(),
            seconds: (status == CaseStatus::Passed).then_some(1.5),
        };
        Suite {
            name: "loadtest run",
            subject: "GET http://h/?a=1&b=2".to_owned(),
            headline: "FAILED".to_owned(),
            began_at: Some(Timestamp::from_second(1_750_000_000).unwrap()),
            seconds: 12.5,
            cases: vec![
                case("p(99)<500", CaseStatus::Passed, "1.2 ms"),
                case(
                    "failed<1|2",
                    CaseStatus::Failed,
                    "the body begins \"<html>\u{1b}\"",
                ),
                case("settled", CaseStatus::Skipped, "not reached"),
            ],
            warnings: vec!["3 <dropped>".to_owned()],
            facts: vec![("rate", "10 requests/s".to_owned())],
        }
    }

    #[test]
    fn junit_has_one_case_per_check_and_escapes_text() {
        let xml = suite().junit().unwrap();
        for part in [
            r#"tests="3" failures="1" skipped="1""#,
            r#"timestamp="2025-06-15T15:06:40Z""#,
            r#"name="p(99)&#60;500" time="1.5">"#,
            r#"name="failed&#60;1|2">"#,
            "&#60;html&#62;\u{fffd}",
            "a=1&#38;b=2",
        ] {
            assert!(xml.contains(part), "{part} is missing in {xml}");
        }
        let count = |part| xml.matches(part).count();
        assert_eq!(count("<testcase "), 3);
        assert_eq!(count("</testcase>"), 3);
        assert_eq!((count("<failure "), count("<skipped ")), (1, 1));
    }

    #[test]
    fn markdown_escapes_text_in_table_cells() {
        let text = suite().markdown();
        assert!(text.starts_with("### loadtest run: FAILED\n"), "{text}");
        assert!(
            text.contains("| ❌ | failed&lt;1\\|2 | the body begins \"&lt;html>"),
            "{text}"
        );
        assert!(text.contains("| rate | 10 requests/s |"), "{text}");
        assert!(text.contains("\n⚠ 3 &lt;dropped>\n"), "{text}");
    }
}
