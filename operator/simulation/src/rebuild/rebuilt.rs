//! What is rebuilt from a recording. Plain data.

use super::replicas::Replicas;
use crate::time::Millis;
use crate::trace::Trace;

/// How a recording is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildOptions {
    /// The name of the trace.
    pub name: String,
    /// What was recorded, for the description of the trace, such as "queue payments".
    pub subject: String,
    /// The beginning of the window, in milliseconds since 1970.
    pub from: i64,
    /// The end of the window, in milliseconds since 1970.
    pub until: i64,
    /// The seed of what was not recorded: the arrivals within seconds, and the durations.
    pub seed: u64,
    /// The most tasks.
    pub limit: usize,
}

/// A trace, and what was measured while its tasks ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebuilt {
    /// The trace. It begins with the first reading.
    pub trace: Trace,
    /// What is assumed, what is left out, and what the recording says of the fleet. A sentence
    /// each, without a full stop.
    pub notes: Vec<String>,
    /// How many tasks there are, and why.
    pub counts: Counts,
    /// What the operator read, in order.
    pub measured: Vec<Measured>,
    /// The replicas that were recorded.
    pub replicas: Replicas,
    /// Task slots of a replica, if they were recorded.
    pub slots: Option<u32>,
    /// The share of the window that was recorded, from 0 to 1.
    pub covered: f64,
}

/// The tasks of a rebuilt trace.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    /// Tasks that arrived while the task queue was read.
    pub arrived: usize,
    /// The same by the add rate alone.
    pub by_add_rate: f64,
    /// The same by the dispatch rate and the change of the backlog; `None` if one of them was not
    /// known throughout.
    pub by_dispatch_rate: Option<f64>,
    /// Tasks that waited already when a stretch of readings began.
    pub waited_before: usize,
    /// Tasks that ran already when a stretch of readings began.
    pub ran_before: usize,
}

/// One reading of the task queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The time in the trace.
    pub at: Millis,
    /// Since when the task queue has been read without a gap.
    pub stretch: Millis,
    /// Tasks that wait; `None` if unknown.
    pub backlog: Option<f64>,
    /// How long the oldest of them has waited; `None` if unknown.
    pub age: Option<Millis>,
    /// How long a task may wait; `None` if unknown.
    pub target: Option<Millis>,
}
