//! Runs scaling policies against traces of tasks, with a virtual clock. No I/O, no real clock; the
//! same seed gives the same numbers on every run.
//!
//! Modelled: one task queue (first in, first out, with Temporal's 5 s cache of statistics, 30 s
//! rate windows and an optional rate limit), workers with slots, a start-up delay, delayed
//! heartbeats, a termination grace, and Kubernetes' choice of victims. Not modelled: several
//! queues, priorities, retries with back-off, a cluster without capacity.
//!
//! Floats serve only to make traces and to print tables; the policy under test has none.

// A simulation counts tasks and milliseconds of a few hours: every cast fits by orders of
// magnitude.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod compare;
pub mod contest;
mod engine;
mod fleet;
mod formats;
mod mixed;
mod plot;
mod queue;
pub mod rebuild;
mod recurring;
mod report;
mod rng;
pub mod scaler;
mod scenario;
mod throttled;
mod time;
mod trace;

pub use compare::{Comparison, compare, compare_with, smallest_fixed_fleet};
pub use engine::{Action, Cluster, DEFAULT_GRACE, Outcome, Point, Scale, Scaler, WorkerRow, run};
pub use fleet::{PodId, PodState};
pub use formats::{
    FunctionDurations, MAX_TASKS, ReadOptions, TokenTimes, TokenTimesError, TraceError, TraceFile,
    TraceReader,
};
pub use mixed::mixed;
pub use plot::svg;
pub use queue::Statistics;
pub use recurring::{Recurring, Results, heading, recurring};
pub use report::{Cut, Summary, table};
pub use rng::Rng;
pub use scenario::{Scenario, standard};
pub use throttled::throttled;
pub use time::Millis;
pub use trace::{Setup, Task, Throttle, Trace};
