//! Temporal's own rate-based autoscaler, according to its published rules: smoothed arrival rate ÷
//! capacity of a worker, up on tasks that found no poller, down one worker at a time. It keeps its
//! own count of workers and sees neither pods nor slots.

use crate::engine::{Action, Cluster, DEFAULT_GRACE, Scale, Scaler};
use crate::time::Millis;

/// The smoothing factor of the rates.
const ALPHA: f64 = 0.45;
/// The interval between polls of the statistics (its minimum; the default is 60 s).
const POLL: Millis = 30_000;
/// Signals about unmatched tasks are batched over this time.
const SIGNALS: Millis = 500;
/// The minimum time between two steps up.
const UP_COOLDOWN: Millis = 2_000;
/// One worker fewer per this time ...
const DOWN_EVERY: Millis = 60_000;
/// ... after this long without an unmatched task.
const DOWN_AFTER: Millis = 90_000;
/// Added to the rate while there is a backlog.
const CATCH_UP: f64 = 2.0;
/// From this backlog on, the dispatch rate shows the workers' capacity.
const MATERIAL_BACKLOG: u64 = 50;
/// The assumed capacity of a worker before anything has been measured, in tasks per second.
const INITIAL_CAPACITY: f64 = 2.0;
/// The target utilization of a worker.
const UTILIZATION: f64 = 0.8;

/// The rate-based autoscaler.
#[derive(Debug)]
pub struct RateBased {
    min: u32,
    max: u32,
    rate: f64,
    capacity: f64,
    utilization: f64,
    grace: Millis,
    next_poll: Millis,
    up_at: Option<Millis>,
    down_at: Option<Millis>,
    seen_unmatched: u64,
}

impl RateBased {
    /// With the defaults and these bounds.
    pub fn new(min: u32, max: u32) -> Self {
        Self {
            min,
            max,
            rate: 0.0,
            capacity: INITIAL_CAPACITY,
            utilization: UTILIZATION,
            grace: DEFAULT_GRACE,
            next_poll: 0,
            up_at: None,
            down_at: None,
            seen_unmatched: 0,
        }
    }

    /// With this initial capacity of a worker (tasks per second), this target utilization and this
    /// termination grace.
    pub fn with(capacity: f64, utilization: f64, grace: Millis, min: u32, max: u32) -> Self {
        Self {
            capacity,
            utilization,
            grace,
            ..Self::new(min, max)
        }
    }

    fn poll(&mut self, cluster: &mut Cluster<'_>, workers: u32) -> u32 {
        let Some(statistics) = cluster.statistics() else {
            return workers;
        };
        let per_second = |milli: u64| milli as f64 / 1000.0;
        self.rate += ALPHA * (per_second(statistics.add_rate_milli) - self.rate);
        if statistics.count >= MATERIAL_BACKLOG && workers > 0 {
            let now_does = per_second(statistics.dispatch_rate_milli) / f64::from(workers);
            if now_does > 0.0 {
                self.capacity += ALPHA * (now_does - self.capacity);
            }
        }
        let wanted = self.rate + if statistics.count > 0 { CATCH_UP } else { 0.0 };
        let load = wanted / self.capacity;
        let desired = (load / self.utilization)
            .ceil()
            .max((load + 0.5 * load.sqrt()).ceil()) as u32;
        desired.min(workers + 4)
    }
}

impl Scaler for RateBased {
    fn name(&self) -> &'static str {
        "Temporal rate-based"
    }

    fn initial_replicas(&self) -> u32 {
        self.min
    }

    fn grace(&self) -> Millis {
        self.grace
    }

    fn wake(&mut self, cluster: &mut Cluster<'_>) -> Action {
        let now = cluster.now();
        let workers = cluster.requested();
        let mut replicas = workers;
        let (unmatched, unmatched_at) = cluster.unmatched();
        let signalled = unmatched > self.seen_unmatched;
        self.seen_unmatched = unmatched;
        let may_grow = self.up_at.is_none_or(|at| now - at >= UP_COOLDOWN);
        if signalled && may_grow {
            replicas = workers + 1;
        }
        if now >= self.next_poll {
            self.next_poll = now + POLL;
            let desired = self.poll(cluster, workers);
            let quiet = unmatched_at.is_none_or(|at| now - at >= DOWN_AFTER);
            let may_shrink = self.down_at.is_none_or(|at| now - at >= DOWN_EVERY);
            if desired > workers && may_grow {
                replicas = replicas.max(desired);
            } else if desired < workers && quiet && may_shrink && !signalled {
                self.down_at = Some(now);
                replicas = workers - 1;
            }
        }
        let replicas = replicas.clamp(self.min, self.max);
        if replicas > workers {
            self.up_at = Some(now);
        }
        Action {
            next: now + SIGNALS,
            scale: Some(Scale {
                replicas,
                costs: Vec::new(),
            }),
        }
    }
}
