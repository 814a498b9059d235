//! A result as CI systems and summaries of pull requests show it: one case for each thing that must hold, as JUnit XML
//! or as Markdown.

use std::fmt::Write as _;

use anyhow::Context;
use askama::Template;
use jiff::Timestamp;

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// The run did not get there.
    Skipped,
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What must hold; the same in every run of the same command.
    pub name: String,
    /// Whether it does.
    pub standing: Standing,
    /// What was seen.
    pub observed: String,
}

impl Case {
    /// Of reasons against it: it holds where there are none.
    #[must_use]
    pub fn unless(name: &str, reasons: &[String], otherwise: &str) -> Self {
        let holds = reasons.is_empty();
        Self {
            name: name.to_owned(),
            standing: if holds { Standing::Passed } else { Standing::Failed },
            observed: if holds {
                otherwise.to_owned()
            } else {
                reasons.join("; ")
            },
        }
    }
}

/// The result of a command.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The command, as in `loadtest run`.
    pub name: &'static str,
    /// What it was about, as in `GET http://host/hello`.
    pub subject: String,
    /// The verdict in a word or two.
    pub headline: String,
    /// When it began.
    pub began_at: Option<Timestamp>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What must hold.
    pub cases: Vec<Case>,
    /// Numbers for people, each with its label.
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
    fn count(&self, standing: Standing) -> usize {
        self.cases.iter().filter(|case| case.standing == standing).count()
    }

    /// As JUnit XML.
    ///
    /// # Errors
    /// When the template fails, which would be a fault of this program.
    pub fn junit(&self) -> anyhow::Result<String> {
        let text = Junit {
            suite: self,
            failures: self.count(Standing::Failed),
            skipped: self.count(Standing::Skipped),
        }
        .render()
        .context("rendering the JUnit report")?;
        // XML has no way to write the other control characters.
        Ok(text.replace(|it: char| it.is_control() && !"\n\t".contains(it), "\u{fffd}"))
    }

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "### {}: {}\n\n{}\n\n",
            self.name,
            self.headline,
            code(&self.subject)
        );
        let mut line = |line: std::fmt::Arguments<'_>| {
            writeln!(text, "{line}").expect("writing to a String does not fail");
        };
        line(format_args!("| | |\n|---|---|"));
        for (label, value) in &self.facts {
            line(format_args!("| {label} | {} |", cell(value)));
        }
        line(format_args!("\n| | must hold | observed |\n|---|---|---|"));
        for case in &self.cases {
            let sign = match case.standing {
                Standing::Passed => "✅",
                Standing::Failed => "❌",
                Standing::Skipped => "⏭",
            };
            line(format_args!(
                "| {sign} | {} | {} |",
                cell(&case.name),
                cell(&case.observed)
            ));
        }
        text
    }
}

/// Text within a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .replace(['\n', '\r'], " ")
        .replace('<', "&lt;")
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite() -> Suite {
        let case = |name: &str, standing, observed: &str| Case {
            name: name.to_owned(),
            standing,
            observed: observed.to_owned(),
        };
        Suite {
            name: "loadtest run",
            subject: "GET http://h/?a=1&b=2".to_owned(),
            headline: "FAILED".to_owned(),
            began_at: Some(Timestamp::from_second(1_750_000_000).unwrap()),
            seconds: 12.5,
            cases: vec![
                case("p(99)<500", Standing::Passed, "1.2 ms"),
                case("failed<1|2", Standing::Failed, "the body begins \"<html>\u{1b}\""),
                case("settled", Standing::Skipped, "not reached"),
            ],
            facts: vec![("rate", "10 requests/s".to_owned())],
        }
    }

    #[test]
    fn junit_has_a_case_for_each_thing_and_is_well_formed() {
        let xml = suite().junit().unwrap();
        for part in [
            r#"tests="3" failures="1" skipped="1""#,
            r#"timestamp="2025-06-15T15:06:40Z""#,
            r#"name="p(99)&#60;500""#,
            "&#60;html&#62;\u{fffd}",
            "a=1&#38;b=2",
        ] {
            assert!(xml.contains(part), "no {part} in {xml}");
        }
        let count = |part| xml.matches(part).count();
        assert_eq!(count("<testcase "), 3);
        assert_eq!(count("</testcase>"), 3);
        assert_eq!((count("<failure "), count("<skipped ")), (1, 1));
    }

    #[test]
    fn markdown_has_tables_that_no_text_breaks() {
        let text = suite().markdown();
        assert!(text.starts_with("### loadtest run: FAILED\n"), "{text}");
        assert!(
            text.contains("| ❌ | failed&lt;1\\|2 | the body begins \"&lt;html>"),
            "{text}"
        );
        assert!(text.contains("| rate | 10 requests/s |"), "{text}");
    }
}
