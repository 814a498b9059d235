//! `cargo xtask cluster node …` and `cargo xtask cluster zone …`.

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use testbed::nodes::{Fault, NewNode, Taint, commands, parse_label, parse_taint};

#[derive(Subcommand)]
pub(crate) enum NodeAction {
    /// Add a node, and wait until it is Ready
    Add {
        /// The name of the node
        name: String,
        /// testbed-a, testbed-b or testbed-c
        #[arg(long)]
        zone: String,
        /// small, medium or large
        #[arg(long = "type", value_name = "TYPE")]
        instance_type: String,
        /// A label of the Node object; repeat for several
        #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
        label: Vec<(String, String)>,
        /// A taint of the Node object; repeat for several
        #[arg(long, value_name = "KEY=VALUE:EFFECT", value_parser = parse_taint)]
        taint: Vec<Taint>,
    },
    /// Stop a node at once and delete its Node object. To move its pods first: `cargo xtask k drain NAME`
    Remove {
        /// The name of the node
        name: String,
    },
    /// List the added nodes
    List,
}

impl NodeAction {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Add {
                name,
                zone,
                instance_type,
                label,
                taint,
            } => commands::add(&[NewNode {
                name,
                zone,
                instance_type,
                labels: label.into_iter().collect(),
                taints: taint,
            }]),
            Self::Remove { name } => commands::remove(&name),
            Self::List => commands::list(),
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum ZoneAction {
    /// Let a zone fail until it is restored
    Fail {
        /// The name of the zone
        zone: String,
        /// What fails
        #[arg(long, value_enum, default_value_t = Mode::Down)]
        mode: Mode,
    },
    /// Let new nodes start again
    Restore {
        /// The name of the zone
        zone: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// Its nodes are killed, and no new ones start
    Down,
    /// New nodes start, and never join the cluster
    NoJoin,
}

impl ZoneAction {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Fail { zone, mode } => {
                let fault = match mode {
                    Mode::Down => Fault::Down,
                    Mode::NoJoin => Fault::NoJoin,
                };
                commands::set_fault(&zone, Some(fault))
            }
            Self::Restore { zone } => commands::set_fault(&zone, None),
        }
    }
}
