//! What was recorded of one queue and one task type, and its check. Plain data, no I/O.

use super::error::{RebuildError, SampleProblem};
use super::words::LATEST;

/// The largest value of any metric. Beyond it, a simulation could not count.
const LARGEST: f64 = 1e9;
/// The most replicas: a hundred times as many as a fleet may have.
const MOST_REPLICAS: f64 = 100_000.0;

/// The value of a metric at one scrape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The time of the scrape, in milliseconds since 1970.
    pub at: i64,
    /// The value, in the unit of the metric.
    pub value: f64,
}

/// One metric over time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// The name of the metric, for messages.
    pub metric: String,
    /// The samples, each later than the one before. A time without one is unknown, never zero.
    pub samples: Vec<Sample>,
}

/// What the operator exposed about one queue and one task type. Metrics of one scrape have the same
/// time. A metric that is missing has no samples.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recording {
    /// Tasks that arrive per second, over the 30 s before the reading.
    pub add_rate: Series,
    /// Tasks handed to workers per second, over the 30 s before the reading.
    pub dispatch_rate: Series,
    /// Tasks that wait.
    pub backlog: Series,
    /// How long the oldest of them has waited, in seconds.
    pub backlog_age: Series,
    /// 1 while Temporal limits the dispatch rate.
    pub rate_limited: Series,
    /// Task slots in use.
    pub slots_used: Series,
    /// Free task slots.
    pub slots_available: Series,
    /// The mean time that a task occupies a slot, in seconds.
    pub service_time: Series,
    /// 1 if that mean is learned, 0 while it is assumed.
    pub service_time_learned: Series,
    /// Ready pods.
    pub ready_replicas: Series,
    /// Replicas in the spec of the workload.
    pub current_replicas: Series,
    /// How long a task may wait, in seconds.
    pub wait_target: Series,
    /// Seconds from the reading of the task queue to the scrape.
    pub reading_age: Series,
}

impl Recording {
    /// Refuses what the operator cannot have exposed.
    pub(super) fn check(&self) -> Result<(), RebuildError> {
        let replicas = [&self.ready_replicas, &self.current_replicas];
        let others = [
            &self.add_rate,
            &self.dispatch_rate,
            &self.backlog,
            &self.backlog_age,
            &self.rate_limited,
            &self.slots_used,
            &self.slots_available,
            &self.service_time,
            &self.service_time_learned,
            &self.wait_target,
            &self.reading_age,
        ];
        for (all, most) in [
            (replicas.as_slice(), MOST_REPLICAS),
            (others.as_slice(), LARGEST),
        ] {
            all.iter().try_for_each(|series| series.check(most))?;
        }
        Ok(())
    }
}

impl Series {
    fn check(&self, most: f64) -> Result<(), RebuildError> {
        let mut before = i64::MIN;
        for Sample { at, value } in self.samples.iter().copied() {
            let problem = if !(0..=LATEST).contains(&at) {
                SampleProblem::Time
            } else if at == before {
                SampleProblem::Duplicate
            } else if at < before {
                SampleProblem::OutOfOrder
            } else if !value.is_finite() {
                SampleProblem::NotFinite(value)
            } else if value < 0.0 {
                SampleProblem::Negative(value)
            } else if value > most {
                SampleProblem::TooLarge { value, most }
            } else {
                before = at;
                continue;
            };
            return Err(RebuildError::Sample {
                metric: self.metric.clone(),
                at,
                problem,
            });
        }
        Ok(())
    }
}
