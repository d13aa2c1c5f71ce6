//! Traces of tasks, and the setup that they run in. No I/O.

use taskqueue_scaling::Policy;

use crate::rng::Rng;
use crate::time::Millis;

/// One task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// When it is added to the queue.
    pub arrives: Millis,
    /// How long a worker takes to run it.
    pub takes: Millis,
}

/// A trace: tasks, and the disturbances meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// A short name.
    pub name: String,
    /// A one-line description.
    pub about: String,
    /// The tasks, in order of arrival.
    pub tasks: Vec<Task>,
    /// The trace is observed, and costs are counted, at least until this time.
    pub until: Millis,
    /// Spans in which Temporal does not answer reads. The workers continue.
    pub outages: Vec<(Millis, Millis)>,
    /// The queue's rate limit, in thousandths per second.
    pub limit_milli: Option<u64>,
    /// When the autoscaler restarts and loses its state.
    pub restarts: Vec<Millis>,
}

/// The setup that a trace runs in: workers, server, limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Task slots of a worker.
    pub slots: u32,
    /// Whether its heartbeats report free slots; those of a resource-based slot supplier do not.
    pub bounded: bool,
    /// What limits the workers although they have free slots.
    pub throttle: Option<Throttle>,
    /// From the request for a replica to its first poll.
    pub start_delay: Millis,
    /// The interval between two heartbeats of a worker.
    pub heartbeat: Millis,
    /// How long the server answers from its cache.
    pub cache: Millis,
    /// The queue-wait target.
    pub target: Millis,
    /// The drain grace period of our policy.
    pub grace: Millis,
    /// The fewest replicas.
    pub min: u32,
    /// The most replicas.
    pub max: u32,
    /// The seed of all randomness outside the trace.
    pub seed: u64,
}

/// A limit that the server does not know of, in tasks per 1000 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// Each worker starts at most this many, as with a rate limit of its own.
    Worker(u64),
    /// All workers together start at most this many: something behind them is slow.
    All(u64),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            slots: 4,
            bounded: true,
            throttle: None,
            start_delay: 3_000,
            heartbeat: 5_000,
            cache: 5_000,
            target: 5_000,
            grace: 600_000,
            min: 0,
            max: 100,
            seed: 1,
        }
    }
}

impl Setup {
    /// The default setup, with the bounds, the slots and the target of this policy.
    pub fn for_policy(policy: &Policy) -> Self {
        Self {
            slots: policy.slots_per_replica,
            target: policy.queue_wait_target.as_millis() as Millis,
            grace: policy.drain_grace_period.as_millis() as Millis,
            min: policy.min,
            max: policy.max,
            ..Self::default()
        }
    }
}

impl Trace {
    /// Creates a trace of these tasks, in any order, observed for five minutes after the last
    /// arrival.
    pub fn new(name: &str, about: &str, mut tasks: Vec<Task>) -> Self {
        tasks.sort_by_key(|task| task.arrives);
        let until = tasks.last().map_or(0, |task| task.arrives) + 300_000;
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            tasks,
            until,
            outages: Vec::new(),
            limit_milli: None,
            restarts: Vec::new(),
        }
    }

    /// The sum of all service times.
    pub fn work(&self) -> Millis {
        self.tasks.iter().map(|task| task.takes).sum()
    }

    /// The mean service time.
    pub fn mean_service(&self) -> Millis {
        self.work()
            .checked_div(self.tasks.len() as u64)
            .unwrap_or(0)
    }
}

/// Whole milliseconds, at least one.
pub(crate) fn millis(seconds: f64) -> Millis {
    ((seconds * 1000.0).round() as Millis).max(1)
}

/// Arrivals of a Poisson process whose rate per second changes over time, by thinning.
pub(crate) fn poisson(
    rng: &mut Rng,
    seconds: f64,
    peak: f64,
    rate: impl Fn(f64) -> f64,
    mut service: impl FnMut(&mut Rng) -> f64,
) -> Vec<Task> {
    let mut tasks = Vec::new();
    let mut at = 0.0;
    loop {
        at += rng.exponential(1.0 / peak);
        if at >= seconds {
            return tasks;
        }
        if rng.unit() * peak <= rate(at) {
            tasks.push(Task {
                arrives: millis(at),
                takes: millis(service(rng)),
            });
        }
    }
}
