//! Which fleets wait for a pass, and since when. Holds numbers; decides nothing, and starts no
//! pass: the controller of kube has the work queue itself, and shows nothing of it.
//!
//! A fleet waits from the first event that asks for a pass, or from the time at which its next pass
//! is due, until a pass begins. An event during a pass asks for another one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{Histogram, HistogramOpts, IntGauge, Opts, Registry};
use taskqueue_exposition::table;
use taskqueue_scaling::Time;
use taskqueue_temporal::OwnerKey;

use super::family::{Family, Subject, number};

/// Buckets for the wait, in seconds: a controller with room begins within a millisecond. A fleet is
/// read every 5 s or less often, so that waits of seconds mean decisions on old numbers.
const WAIT_BUCKETS: [f64; 8] = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

/// The fleets that wait. Cheap to clone.
#[derive(Clone)]
pub struct WorkQueue {
    fleets: Arc<Mutex<HashMap<OwnerKey, Waiting>>>,
    waited: Histogram,
    running: IntGauge,
}

/// What asks for the next pass of a fleet.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    /// The first event since the last pass began.
    event: Option<Time>,
    /// When the next pass is due without any event.
    due: Option<Time>,
}

impl Waiting {
    /// Since when the fleet has waited, if it waits now.
    fn since(self, now: Time) -> Option<Time> {
        let due = self.due.filter(|due| *due <= now);
        self.event.into_iter().chain(due).min()
    }
}

impl WorkQueue {
    /// An empty queue.
    ///
    /// # Errors
    /// If its metrics are registered already.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let wait = HistogramOpts::new(table::QUEUE_WAIT.name, table::QUEUE_WAIT.help);
        let running = Opts::new(table::RUNNING.name, table::RUNNING.help);
        let queue = Self {
            fleets: Arc::default(),
            waited: Histogram::with_opts(wait.buckets(WAIT_BUCKETS.to_vec()))?,
            running: IntGauge::with_opts(running)?,
        };
        registry.register(Box::new(queue.waited.clone()))?;
        registry.register(Box::new(queue.running.clone()))?;
        Ok(queue)
    }

    /// An event asks for a pass.
    pub fn asked(&self, fleet: OwnerKey, now: Time) {
        let mut fleets = self.fleets.lock();
        fleets.entry(fleet).or_default().event.get_or_insert(now);
    }

    /// The next pass is due then, unless the fleet is gone.
    pub fn due(&self, fleet: &OwnerKey, at: Time) {
        if let Some(waiting) = self.fleets.lock().get_mut(fleet) {
            waiting.due = Some(at);
        }
    }

    /// A pass begins. It runs until the returned guard is dropped.
    pub fn begin(&self, fleet: OwnerKey, now: Time) -> Running {
        let waiting = self.fleets.lock().insert(fleet, Waiting::default());
        if let Some(since) = waiting.unwrap_or_default().since(now) {
            self.waited.observe(now.since(since).as_secs_f64());
        }
        self.running.inc();
        Running(self.running.clone())
    }

    /// The fleet is gone.
    pub fn forget(&self, fleet: &OwnerKey) {
        self.fleets.lock().remove(fleet);
    }

    /// Appends how many fleets wait now, and for how long the one that has waited longest.
    pub(super) fn write(&self, now: Time, text: &mut String) {
        let fleets = self.fleets.lock();
        let waits = fleets.values().filter_map(|waiting| waiting.since(now));
        let (count, first) = waits.fold((0_u64, None), |(count, first), since| {
            let earlier = first.map_or(since, |first: Time| first.min(since));
            (count.saturating_add(1), Some(earlier))
        });
        let longest = first.map_or(0.0, |first| now.since(first).as_secs_f64());
        drop(fleets);
        for (spec, value) in [
            (table::QUEUE_DEPTH, number(count)),
            (table::QUEUE_LONGEST, longest),
        ] {
            let mut family = Family::new(spec);
            family.add(&Subject::new(&[]), &[], value);
            family.write(text);
        }
    }
}

/// A pass that runs.
#[must_use = "the pass runs until this is dropped"]
pub struct Running(IntGauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use taskqueue_exposition::{Sample, Spec};

    use super::*;

    fn fleet(name: &str) -> OwnerKey {
        OwnerKey {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        }
    }

    /// Depth, longest wait, running passes, and the count and sum of the waits so far.
    fn numbers((queue, registry): &(WorkQueue, Registry), now: u64) -> Vec<f64> {
        let mut text = TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        queue.write(Time::from_secs(now), &mut text);
        let of = |spec: Spec, part: &str| {
            let mut samples = text.lines().filter_map(Sample::parse);
            let name = format!("{}{part}", spec.name);
            samples.find(|sample| sample.name == name).unwrap().value
        };
        vec![
            of(table::QUEUE_DEPTH, ""),
            of(table::QUEUE_LONGEST, ""),
            of(table::RUNNING, ""),
            of(table::QUEUE_WAIT, "_count"),
            of(table::QUEUE_WAIT, "_sum"),
        ]
    }

    fn queue() -> (WorkQueue, Registry) {
        let registry = Registry::new();
        (WorkQueue::register(&registry).unwrap(), registry)
    }

    const fn at(seconds: u64) -> Time {
        Time::from_secs(seconds)
    }

    #[test]
    fn a_fleet_waits_from_the_first_event_until_its_pass_begins() {
        let queue = queue();
        queue.0.asked(fleet("a"), at(10));
        queue.0.asked(fleet("b"), at(12));
        queue.0.asked(fleet("a"), at(13));
        assert_eq!(numbers(&queue, 15), [2.0, 5.0, 0.0, 0.0, 0.0]);
        let running = queue.0.begin(fleet("a"), at(16));
        assert_eq!(numbers(&queue, 16), [1.0, 4.0, 1.0, 1.0, 6.0]);
        queue.0.asked(fleet("a"), at(17));
        drop(running);
        let running = queue.0.begin(fleet("a"), at(18));
        drop(running);
        assert_eq!(numbers(&queue, 18), [1.0, 6.0, 0.0, 2.0, 7.0]);
    }

    #[test]
    fn a_fleet_waits_from_the_time_at_which_its_next_pass_is_due() {
        let queue = queue();
        drop(queue.0.begin(fleet("a"), at(10)));
        queue.0.due(&fleet("a"), at(20));
        assert_eq!(numbers(&queue, 19), [0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(numbers(&queue, 23), [1.0, 3.0, 0.0, 0.0, 0.0]);
        // An event that comes first is what it waits from; the later time no longer counts.
        queue.0.due(&fleet("a"), at(40));
        queue.0.asked(fleet("a"), at(30));
        drop(queue.0.begin(fleet("a"), at(31)));
        assert_eq!(numbers(&queue, 50), [0.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn a_fleet_that_is_gone_does_not_wait() {
        let queue = queue();
        queue.0.asked(fleet("a"), at(10));
        queue.0.forget(&fleet("a"));
        queue.0.due(&fleet("a"), at(11));
        assert_eq!(numbers(&queue, 15), [0.0; 5]);
    }
}
