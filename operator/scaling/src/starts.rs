//! Learns how long a pod takes to start. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::observation::{PodPhase, PodSlots};
use crate::time::Time;

/// A pod that took longer to start had no room on any node; the next one need not.
const LONGEST_START_UP: Duration = Duration::from_mins(5);

/// The starting pods, and how long earlier ones took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Starts {
    /// The pods that are not ready yet, and when each was first seen.
    since: BTreeMap<String, Time>,
    /// The mean time from the first sight of a pod to its readiness.
    mean: Option<Duration>,
}

impl Starts {
    /// Records the present pods.
    pub(crate) fn observe(&mut self, pods: &[PodSlots], now: Time) {
        let mut starting = BTreeMap::new();
        for pod in pods {
            let since = self.since.get(&pod.pod).copied();
            // A worker is often listed before its pod is ready.
            if pod.phase.is_starting() {
                if let Some(since) = since.or_else(|| (!pod.listed).then_some(now)) {
                    starting.insert(pod.pod.clone(), since);
                }
            } else if let Some(since) = since.filter(|_| pod.phase == PodPhase::Ready) {
                let took = now.since(since).min(LONGEST_START_UP);
                let mean = self.mean.unwrap_or(took).saturating_mul(3);
                self.mean = mean.saturating_add(took).checked_div(4);
            }
        }
        self.since = starting;
    }

    /// The mean time that recent pods took from the first sight to readiness. `None` = none was
    /// seen to start.
    pub(crate) const fn mean(&self) -> Option<Duration> {
        self.mean
    }

    /// The longest time for which a pod that is not ready yet has been starting.
    pub(crate) fn longest(&self, now: Time) -> Duration {
        self.starting(now).max().unwrap_or_default()
    }

    /// How long the starting pods have been starting, each at most for this time, summed.
    pub(crate) fn sum(&self, now: Time, most: Duration) -> Duration {
        self.starting(now)
            .map(|so_far| so_far.min(most))
            .fold(Duration::ZERO, Duration::saturating_add)
    }

    /// How long each starting pod has been starting.
    fn starting(&self, now: Time) -> impl Iterator<Item = Duration> {
        let since = self.since.values();
        since.map(move |since| now.since(*since).min(LONGEST_START_UP))
    }
}
