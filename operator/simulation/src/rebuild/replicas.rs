//! The fleet that was recorded: its replicas over time, its slots, and how long pods took to start.
//! Pure.

use super::readings::Scrape;
use crate::time::Millis;

/// Replicas over time, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replicas {
    /// From each time of the trace on, this many. Begins at 0; empty if none were recorded.
    pub steps: Vec<(Millis, u32)>,
    /// Whether these are the ready pods, and not only those that were requested.
    pub ready: bool,
}

/// The replicas from `origin` on. A change is taken to be half-way between two scrapes.
pub(super) fn replicas(scrapes: &[Scrape], origin: i64, gap: i64) -> Replicas {
    let ready = scrapes.iter().any(|scrape| scrape.ready_replicas.is_some());
    let mut steps: Vec<(Millis, u32)> = Vec::new();
    let mut before: Option<i64> = None;
    for scrape in scrapes {
        let value = if ready {
            scrape.ready_replicas
        } else {
            scrape.current_replicas
        };
        let Some(value) = value else { continue };
        let value = value.round() as u32;
        let close = before.filter(|before| scrape.at - before <= gap);
        let changed = close.map_or(scrape.at, |before| i64::midpoint(before, scrape.at));
        before = Some(scrape.at);
        let at = (changed - origin).max(0) as Millis;
        match steps.last_mut() {
            Some((_, last)) if *last == value => {}
            // Before the trace begins, the last value counts.
            Some((since, last)) if *since == at => *last = value,
            Some(_) => steps.push((at, value)),
            None => steps.push((0, value)),
        }
    }
    Replicas { steps, ready }
}

/// The slots of a ready replica, as most scrapes have them; `None` if they are unknown.
pub(super) fn slots_per_replica(scrapes: &[Scrape]) -> Option<u32> {
    let per_replica = |scrape: &Scrape| {
        let slots = scrape.slots_used? + scrape.slots_available?;
        let ready = scrape.ready_replicas.filter(|ready| *ready >= 1.0)?;
        Some((slots / ready).round() as u32)
    };
    let mut all: Vec<u32> = scrapes.iter().filter_map(per_replica).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().filter(|slots| *slots > 0)
}

/// How long a requested replica took to be ready, in the median, and the number of cases; `None` if
/// the replicas never rose.
pub(super) fn start_up(scrapes: &[Scrape]) -> Option<(Millis, usize)> {
    let mut taken: Vec<i64> = Vec::new();
    let mut previous: Option<f64> = None;
    // The replicas that were requested and are not ready yet, and since when.
    let mut awaited: Option<(f64, i64)> = None;
    for scrape in scrapes {
        let (Some(current), Some(ready)) = (scrape.current_replicas, scrape.ready_replicas) else {
            (previous, awaited) = (None, None);
            continue;
        };
        if previous.is_some_and(|previous| current < previous) {
            awaited = None;
        }
        if previous.is_some_and(|previous| current > previous) && awaited.is_none() {
            awaited = Some((current, scrape.at));
        }
        if let Some((_, since)) = awaited.filter(|(wanted, _)| ready >= *wanted) {
            taken.push(scrape.at - since);
            awaited = None;
        }
        previous = Some(current);
    }
    taken.sort_unstable();
    let median = taken.get(taken.len() / 2)?;
    Some((*median as Millis, taken.len()))
}
