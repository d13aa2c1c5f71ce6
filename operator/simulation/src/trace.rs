//! Traces of tasks, and the setup that they run in. No I/O: the text of a CSV file is passed in.

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

/// Why a trace file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A line does not consist of two numbers.
    #[error(
        "line {line} of the trace: expected \"arrival seconds,duration seconds\", found {found:?}"
    )]
    Line {
        /// The line number, from 1.
        line: usize,
        /// The content of the line.
        found: String,
    },
    /// The file contains no task.
    #[error(
        "the trace contains no task; write one line \"arrival seconds,duration seconds\" per task"
    )]
    Empty,
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

    /// Reads lines of `arrival seconds,duration seconds`. Skips empty lines, lines that start with
    /// `#`, and a heading before the first task. Arrivals may be Unix times.
    pub fn from_csv(name: &str, text: &str) -> Result<Self, TraceError> {
        let mut tasks = Vec::new();
        let mut heading = false;
        // Spreadsheets put a byte order mark first.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut numbers = line.split(',').map(|field| field.trim().parse::<f64>());
            match (numbers.next(), numbers.next()) {
                (Some(Ok(arrives)), Some(Ok(takes)))
                    if (0.0..1e10).contains(&arrives) && (0.0..1e9).contains(&takes) =>
                {
                    tasks.push(Task {
                        arrives: millis(arrives),
                        takes: millis(takes),
                    });
                }
                // A mistyped number is not a heading.
                (Some(Err(_)), _)
                    if !heading
                        && tasks.is_empty()
                        && !line.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) =>
                {
                    heading = true;
                }
                _ => {
                    return Err(TraceError::Line {
                        line: index + 1,
                        found: line.to_owned(),
                    });
                }
            }
        }
        if tasks.is_empty() {
            return Err(TraceError::Empty);
        }
        let about = format!("{} tasks from a file", tasks.len());
        Ok(Self::new(name, &about, tasks))
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
