//! KEDA with its `temporal` scaler, according to its published rules: the operator switches 0 ↔ 1
//! at its polling interval, and an HPA scales 1 ↔ n by the queue size, which it queries at each
//! sync. A second trigger, on the slots in use, is optional.

use crate::engine::{Action, Cluster, DEFAULT_GRACE, Scale, Scaler};
use crate::scaler::hpa::{Rules, slots_per_replica};
use crate::time::Millis;

/// How often the HPA runs.
const SYNC: Millis = 15_000;

/// The settings of a ScaledObject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KedaSettings {
    /// `targetQueueSize` of the `temporal` trigger.
    pub backlog: u64,
    /// The percentage of slots in use, as a second trigger on the workers' own metrics.
    pub slots_percent: Option<u32>,
    /// `scaleDown.stabilizationWindowSeconds`.
    pub window: Millis,
    /// `cooldownPeriod`.
    pub cooldown: Millis,
    /// `pollingInterval`.
    pub polling: Millis,
}

/// A ScaledObject.
#[derive(Debug)]
pub struct Keda {
    name: String,
    min: u32,
    settings: KedaSettings,
    slots: u32,
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
    /// behavior.
    pub fn defaults(min: u32, max: u32) -> Self {
        let settings = KedaSettings {
            backlog: 5,
            slots_percent: None,
            window: 300_000,
            cooldown: 300_000,
            polling: 30_000,
        };
        let rules = Rules::new((min.max(1), max), settings.window, true);
        Self::new("KEDA defaults".to_owned(), settings, min, rules)
    }

    /// On one trigger, tuned for a trace: polling 5 s, cooldown 60 s, a scale-down window of 60 s,
    /// unlimited growth, the queue size per replica that fits the true service time, and the same
    /// termination grace as ours.
    pub fn tuned(target: u64, grace: Millis, min: u32, max: u32) -> Self {
        let settings = KedaSettings {
            backlog: target.max(1),
            slots_percent: None,
            window: 60_000,
            cooldown: 60_000,
            polling: 5_000,
        };
        let name = format!("KEDA tuned, {} per rep.", settings.backlog);
        let rules = Rules::new((min.max(1), max), settings.window, false);
        Self {
            grace,
            ..Self::new(name, settings, min, rules)
        }
    }

    /// With these settings, unlimited growth and this termination grace, for workers of this many
    /// slots.
    pub fn with(settings: KedaSettings, slots: u32, grace: Millis, min: u32, max: u32) -> Self {
        let rules = Rules::new((min.max(1), max), settings.window, false);
        Self {
            slots,
            grace,
            ..Self::new("KEDA".to_owned(), settings, min, rules)
        }
    }

    const fn new(name: String, settings: KedaSettings, min: u32, rules: Rules) -> Self {
        Self {
            name,
            min,
            settings,
            slots: 1,
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
        let in_use = self.settings.slots_percent.is_some() && cluster.slots_in_use() > 0;
        if count > 0 || in_use {
            self.active_at = Some(now);
            if *replicas == 0 {
                *replicas = self.min.max(1);
            }
        } else if *replicas > self.min && self.min == 0 {
            let active_at = *self.active_at.get_or_insert(now);
            if now - active_at >= self.settings.cooldown {
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
            self.next_poll = now + self.settings.polling;
        }
        if now >= self.next_sync {
            self.next_sync = now + SYNC;
            // An HPA is disabled while its target is at zero.
            if cluster.requested() > 0
                && replicas > 0
                && let Some(count) = self.queue_size(cluster)
            {
                let mut metrics = vec![(count, self.settings.backlog as f64)];
                if let Some(percent) = self.settings.slots_percent {
                    let target = slots_per_replica(self.slots, percent);
                    metrics.push((cluster.slots_in_use(), target));
                }
                replicas = self.rules.sync(now, &metrics, replicas);
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
