//! The import cycles of a target.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::source::Imports;

/// Returns a text for each import cycle: a group of files that all import each other, directly or indirectly.
pub(crate) fn cycles(imports: &Imports) -> Vec<String> {
    let reachable = |start: &PathBuf| {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(file) = open.pop() {
            for next in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<_, _> = imports.keys().map(|file| (file, reachable(file))).collect();
    let mut cycles = BTreeSet::new();
    for (file, others) in reached.iter().filter(|(file, others)| others.contains(**file)) {
        let mutual = |other: &&PathBuf| reached.get(other).is_some_and(|others| others.contains(*file));
        cycles.insert(others.iter().filter(mutual).cloned().collect::<BTreeSet<_>>());
    }
    cycles
        .iter()
        .map(|cycle| {
            let mut text = format!("an import cycle of {} files:", cycle.len());
            for (from, targets) in imports.iter().filter(|(from, _)| cycle.contains(*from)) {
                for (to, names) in targets.iter().filter(|(to, _)| cycle.contains(*to)) {
                    let names: Vec<_> = names.iter().map(String::as_str).collect();
                    let names = names.join(", ");
                    let (from, to) = (from.display(), to.display());
                    text.extend(["\n  ", &format!("{from} imports {names} from {to}")]);
                }
            }
            text
        })
        .collect()
}
