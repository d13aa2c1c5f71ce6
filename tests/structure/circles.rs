//! Finds circles in a graph of imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::imports::Imports;

/// One arrow of a circle: `from` uses `names`, which `to` defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) names: BTreeSet<String>,
}

/// Finds circles, shortest first, such that every arrow of any circle is in at least one of them.
pub(crate) fn circles(imports: &Imports) -> Vec<Vec<Arrow>> {
    let mut targets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in imports.keys() {
        targets.entry(from).or_default().push(to);
    }
    let mut candidates: Vec<Vec<&str>> = imports
        .keys()
        .filter_map(|(from, to)| shortest(&targets, to, from))
        .collect();
    candidates.sort_by_key(Vec::len);
    let mut shown: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut circles = Vec::new();
    for mut files in candidates {
        let first = (0..files.len()).min_by_key(|at| files[*at]).unwrap_or(0);
        files.rotate_left(first);
        let arrows: Vec<(&str, &str)> = files
            .iter()
            .copied()
            .zip(files.iter().copied().cycle().skip(1))
            .collect();
        if arrows.iter().all(|arrow| shown.contains(arrow)) {
            continue;
        }
        shown.extend(&arrows);
        let circle = arrows.into_iter().map(|(from, to)| Arrow {
            from: from.to_owned(),
            to: to.to_owned(),
            names: imports[&(from.to_owned(), to.to_owned())].clone(),
        });
        circles.push(circle.collect());
    }
    circles
}

/// The files on a shortest path, both ends included.
fn shortest<'a>(
    targets: &BTreeMap<&'a str, Vec<&'a str>>,
    start: &'a str,
    end: &'a str,
) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(file) = waiting.pop_front() {
        if file == end {
            let mut way = vec![end];
            while let Some(last) = way.last()
                && *last != start
            {
                way.push(before[last]);
            }
            way.reverse();
            return Some(way);
        }
        for next in targets.get(file).into_iter().flatten() {
            if *next != start && !before.contains_key(next) {
                before.insert(next, file);
                waiting.push_back(next);
            }
        }
    }
    None
}
