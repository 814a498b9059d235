//! The links of a chain of metrics, and what can be said of each.

use schemars::JsonSchema;
use serde::Serialize;
use wiring::Link;

/// Whether a link holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It holds.
    Ok,
    /// It does not.
    Broken,
    /// It cannot be told, because one before it is broken.
    Unknown,
}

/// One link and what was found of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LinkReport {
    /// Which.
    pub link: Link,
    /// Whether it holds.
    pub state: LinkState,
    /// What was found.
    pub detail: String,
    /// Where to look, for a broken one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look_at: Option<String>,
}

/// All links of one HPA's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diagnosis {
    /// The HPA.
    pub hpa: String,
    /// Every link, in order.
    pub links: Vec<LinkReport>,
}

impl Diagnosis {
    /// The first broken link: what breaks the others.
    #[must_use]
    pub fn root_cause(&self) -> Option<&LinkReport> {
        self.links.iter().find(|link| link.state == LinkState::Broken)
    }

    /// Whether every link holds.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.links.iter().all(|link| link.state == LinkState::Ok)
    }

    /// The state of one link.
    #[must_use]
    pub fn state(&self, name: Link) -> Option<LinkState> {
        self.links
            .iter()
            .find(|link| link.link == name)
            .map(|link| link.state)
    }
}
