//! KEDA with its `temporal` scaler, according to its published rules: the operator switches 0 ↔ 1
//! at its polling interval, and an HPA scales 1 ↔ n by the queue size, which it queries at each
//! sync.

use crate::engine::{Action, Cluster, DEFAULT_GRACE, Scale, Scaler};
use crate::scaler::hpa::Rules;
use crate::time::Millis;

/// How often the HPA runs.
const SYNC: Millis = 15_000;

/// A ScaledObject.
#[derive(Debug)]
pub struct Keda {
    name: String,
    min: u32,
    polling: Millis,
    cooldown: Millis,
    rules: Rules,
    next_poll: Millis,
    next_sync: Millis,
    active_at: Option<Millis>,
    /// Calls per reading: one per queue type in the trigger.
    types: u32,
    grace: Millis,
}

impl Keda {
    /// With the defaults: polling 30 s, cooldown 300 s, targetQueueSize 5, the HPA's default
    /// behaviour.
    pub fn defaults(min: u32, max: u32) -> Self {
        let rules = Rules::new(5, (min.max(1), max), 300_000, true);
        Self::new("KEDA defaults".to_owned(), (min, 30_000, 300_000), rules)
    }

    /// Tuned as well as possible: polling 5 s, cooldown 60 s, a scale-down window of 60 s,
    /// unlimited growth, the queue size per replica that fits the true service time, and the same
    /// termination grace as ours.
    pub fn tuned(target: u64, grace: Millis, min: u32, max: u32) -> Self {
        let rules = Rules::new(target.max(1), (min.max(1), max), 60_000, false);
        let name = format!("KEDA tuned, {} per rep.", target.max(1));
        Self {
            grace,
            ..Self::new(name, (min, 5_000, 60_000), rules)
        }
    }

    fn new(name: String, (min, polling, cooldown): (u32, Millis, Millis), rules: Rules) -> Self {
        Self {
            name,
            min,
            polling,
            cooldown,
            rules,
            next_poll: 0,
            next_sync: 0,
            active_at: None,
            types: 1,
            grace: DEFAULT_GRACE,
        }
    }

    /// Switches 0 ↔ 1, at the polling interval.
    fn poll(&mut self, cluster: &mut Cluster<'_>, replicas: &mut u32) {
        let now = cluster.now();
        // A failed poll changes nothing.
        let Some(count) = self.queue_size(cluster) else {
            return;
        };
        if count > 0 {
            self.active_at = Some(now);
            if *replicas == 0 {
                *replicas = self.min.max(1);
            }
        } else if *replicas > self.min && self.min == 0 {
            let active_at = *self.active_at.get_or_insert(now);
            if now - active_at >= self.cooldown {
                *replicas = 0;
            }
        }
    }

    fn queue_size(&self, cluster: &mut Cluster<'_>) -> Option<u64> {
        (0..self.types)
            .map(|_| cluster.statistics())
            .fold(None, |_, statistics| statistics)
            .map(|s| s.count)
    }
}

impl Scaler for Keda {
    fn name(&self) -> &str {
        &self.name
    }

    fn initial_replicas(&self) -> u32 {
        self.min
    }

    fn grace(&self) -> Millis {
        self.grace
    }

    fn wake(&mut self, cluster: &mut Cluster<'_>) -> Action {
        let now = cluster.now();
        let mut replicas = cluster.requested();
        if now >= self.next_poll {
            self.poll(cluster, &mut replicas);
            self.next_poll = now + self.polling;
        }
        if now >= self.next_sync {
            self.next_sync = now + SYNC;
            // An HPA is disabled while its target is at zero.
            if cluster.requested() > 0
                && replicas > 0
                && let Some(count) = self.queue_size(cluster)
            {
                replicas = self.rules.sync(now, count, replicas);
            }
        }
        let scale = Some(Scale {
            replicas,
            costs: Vec::new(),
        });
        Action {
            next: self.next_poll.min(self.next_sync),
            scale,
        }
    }

    fn restart(&mut self) {
        self.rules.forget();
        self.active_at = None;
    }
}
