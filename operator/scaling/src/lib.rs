//! The pure core of scaling: decides from observations how many replicas a queue should have, and
//! why.
//!
//! Plain data in, plain data out. No I/O, no clock (the time is passed in), no floats in replica
//! arithmetic, no global state. The caller does three things per queue and pass:
//!
//! ```
//! # use taskqueue_scaling::*;
//! # fn pass(policy: &Policy, observation: &Observation, history: &mut History, now: Time) {
//! history.observe(policy, observation, now);                     // take the readings in
//! let decision = decide(policy, observation, history, now);      // pure
//! // ... if decision.act: write the deletion costs, then the replicas ...
//! history.carried_out(&decision, now);                           // once that has succeeded
//! # }
//! ```
//!
//! If the write fails, do not call `carried_out`: the same sample then leads to the same decision
//! again.

#![warn(clippy::arithmetic_side_effects)]

mod bursts;
mod capacity;
mod cells;
pub mod check;
mod decide;
mod decision;
mod demand;
mod explain;
mod forecast;
mod format;
mod head;
mod history;
mod learn;
mod learned;
mod limits;
mod milli;
mod missed;
mod observation;
mod past;
mod policy;
mod prior;
mod reason;
mod recurring;
mod release;
mod rises;
mod slot_time;
mod slots;
mod smoothed;
mod starts;
mod stuck;
mod target;
mod time;
mod victims;
mod work;
mod worker;

pub use decide::{decide, initial_replicas, requeue_after};
pub use decision::{Decision, Inputs, Limited, SampleId};
pub use demand::{Demand, DemandTerms, Term, TypeDemand};
pub use forecast::{Forecast, Pattern};
pub use history::History;
pub use learn::{DEFAULT_SERVICE_TIME, DEFAULT_WORKFLOW_TASK_TIME, ServiceTime};
pub use observation::{
    Backlog, Observation, PRIORITIES, PerType, PodPhase, PodSlots, Reading, Replicas, SlotSource,
    Slots, TaskType, TypeBacklog, TypeSlots, UnknownReason,
};
pub use policy::{
    Behavior, Fallback, Mode, Policy, ScalingRules, SelectPolicy, StepKind, StepPolicy,
};
pub use prior::Prior;
pub use reason::Reason;
pub use recurring::RecurringLoad;
pub use release::{HeldPod, Hold};
pub use stuck::{Finding, Stuck};
pub use time::{LocalTime, Time};
pub use victims::{FIRST_VICTIM_COST, Victim, Victims, victims};
