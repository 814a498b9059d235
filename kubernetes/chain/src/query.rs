//! The selectors in a query of `PromQL`.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;

use crate::relabel::Labels;

static MATCHER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(\w+)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')"#)
        .expect("a valid pattern")
});
/// A selector with braces, and its window if it has one.
static SELECTOR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}\s*(?:\[(\w+)\])?").expect("a valid pattern")
});

/// A label matcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

impl Matcher {
    /// Returns the matchers in a text; other parts of the text, such as templates, are skipped.
    pub(crate) fn all(text: &str) -> Vec<Self> {
        let found = MATCHER.captures_iter(text);
        found
            .map(|found| Self {
                label: found[1].to_owned(),
                operator: found[2].to_owned(),
                value: found
                    .get(3)
                    .or(found.get(4))
                    .map_or(String::new(), |value| value.as_str().to_owned()),
            })
            .collect()
    }

    /// Whether the matcher accepts a value. A missing label has an empty value.
    pub(crate) fn accepts(&self, value: &str) -> bool {
        let matches =
            || Regex::new(&format!("^(?:{})$", self.value)).is_ok_and(|pattern| pattern.is_match(value));
        match self.operator.as_str() {
            "=" => self.value == value,
            "!=" => self.value != value,
            "=~" => matches(),
            _ => !matches(),
        }
    }
}

/// A selector of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The name of the series.
    pub series: String,
    /// The window, as in `15s`; `None` for the last sample.
    pub window: Option<String>,
    matchers: Vec<Matcher>,
}

impl Read {
    /// Returns the selectors of a query that have a name and braces.
    #[must_use]
    pub fn all(query: &str) -> Vec<Self> {
        let found = SELECTOR.captures_iter(query);
        found
            .map(|found| Self {
                series: found[1].to_owned(),
                window: found.get(3).map(|window| window.as_str().to_owned()),
                matchers: Matcher::all(&found[2]),
            })
            .collect()
    }

    /// Whether the matchers of some labels accept the labels of a series.
    pub(crate) fn selects(&self, labels: &Labels, of: &BTreeSet<String>) -> bool {
        let mut matchers = self.matchers.iter().filter(|matcher| of.contains(&matcher.label));
        matchers.all(|matcher| matcher.accepts(labels.get(&matcher.label).map_or("", String::as_str)))
    }
}
