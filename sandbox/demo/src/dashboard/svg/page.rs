//! What all panels of an SVG picture share. Pure.

use std::collections::BTreeMap;

use sandbox_machine::clients::prometheus::Series;

use crate::dashboard::panels::{Panel, Query};

/// Colours that differ for colour-blind people too.
pub(super) const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#666666",
];

/// A panel with what was answered to its queries.
pub struct Drawn<'a> {
    /// The panel.
    pub panel: &'a Panel,
    /// Its queries and their series.
    pub answers: Vec<(&'a Query, Vec<Series>)>,
}

/// What all panels of a picture share.
pub(super) struct Page {
    /// The colour of each queue.
    pub(super) colours: BTreeMap<String, &'static str>,
    /// Where the time axis begins, in seconds since 1970.
    pub(super) from: f64,
    /// Where it ends.
    pub(super) to: f64,
    /// Seconds between two samples.
    pub(super) step: f64,
}

/// A colour for each queue, the same in all panels.
pub(super) fn colours(panels: &[Drawn<'_>]) -> BTreeMap<String, &'static str> {
    let mut queues: Vec<&String> = panels
        .iter()
        .flat_map(|drawn| &drawn.answers)
        .flat_map(|(_, series)| series)
        .filter_map(|series| series.labels.get("queue"))
        .collect();
    queues.sort();
    queues.dedup();
    let colours = COLOURS.iter().cycle();
    queues.into_iter().cloned().zip(colours.copied()).collect()
}
