//! The diagnosis of a metrics chain: the state of each link.

use schemars::JsonSchema;
use serde::Serialize;

use crate::link::Link;

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// The link works.
    Ok,
    /// The link is broken.
    Broken,
    /// The state is unknown, because an earlier link is broken.
    Unknown,
    /// The link was not checked: a part of it is not among the manifests, or the metric does not need it.
    NotChecked,
}

/// The diagnosis of one link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LinkReport {
    /// The link.
    pub link: Link,
    /// The state of the link.
    pub state: LinkState,
    /// The finding, as text.
    pub detail: String,
    /// Where to look for the cause. Only set for a broken link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look_at: Option<String>,
    /// Faults that do not break the link, such as an unverified certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The diagnosis of one HPA's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diagnosis {
    /// The name of the HPA.
    pub hpa: String,
    /// All links, in order.
    pub links: Vec<LinkReport>,
}

impl Diagnosis {
    /// Returns the first broken link, which is the cause of all later failures.
    #[must_use]
    pub fn root_cause(&self) -> Option<&LinkReport> {
        self.links.iter().find(|link| link.state == LinkState::Broken)
    }

    /// Returns whether every checked link works.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let works = |link: &LinkReport| matches!(link.state, LinkState::Ok | LinkState::NotChecked);
        self.links.iter().all(works)
    }

    /// Returns the state of one link.
    #[must_use]
    pub fn state(&self, name: Link) -> Option<LinkState> {
        self.links
            .iter()
            .find(|link| link.link == name)
            .map(|link| link.state)
    }
}
