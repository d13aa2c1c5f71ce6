//! The HorizontalPodAutoscaler on external metrics (AverageValue), according to its published
//! rules: `desired = ceil(metric ÷ target)`, the largest over its metrics, tolerance, behavior
//! with stabilisation windows and policies.

use std::collections::VecDeque;

use crate::engine::{Action, Cluster, DEFAULT_GRACE, Scale, Scaler};
use crate::time::Millis;

/// How often the controller runs.
const SYNC: Millis = 15_000;

/// The rules of the HPA itself, used by [`Hpa`] and by KEDA.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) min: u32,
    pub(super) max: u32,
    /// The window whose largest recommendation counts.
    pub(super) down_window: Millis,
    /// Whether growth is limited to the larger of 4 pods and 100 % per 15 s; otherwise it is
    /// unlimited.
    pub(super) up_limited: bool,
    recommendations: VecDeque<(Millis, u32)>,
    events: VecDeque<(Millis, u32, u32)>,
}

impl Rules {
    pub(super) const fn new((min, max): (u32, u32), down_window: Millis, up_limited: bool) -> Self {
        Self {
            min,
            max,
            down_window,
            up_limited,
            recommendations: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The desired replicas for these metrics, each with its target per replica.
    pub(super) fn sync(&mut self, now: Millis, metrics: &[(u64, f64)], current: u32) -> u32 {
        let desired = metrics.iter().map(|(metric, target)| {
            let metric = *metric as f64;
            let ratio = metric / (target * f64::from(current.max(1)));
            let within = current > 0 && (ratio - 1.0).abs() <= 0.1;
            if within {
                current
            } else {
                (metric / target).ceil() as u32
            }
        });
        let raw = desired.max().unwrap_or(current);
        self.recommendations.push_back((now, raw));
        let window = self.down_window;
        self.recommendations.retain(|(at, _)| now - at <= window);
        let highest = self
            .recommendations
            .iter()
            .map(|(_, recommended)| *recommended)
            .max();
        let stabilized = if raw < current {
            highest.unwrap_or(raw).min(current)
        } else {
            raw
        };
        let limited = self
            .step(now, current, stabilized)
            .clamp(self.min, self.max);
        if limited != current {
            self.events.push_back((now, current, limited));
        }
        limited
    }

    fn step(&mut self, now: Millis, current: u32, wanted: u32) -> u32 {
        self.events.retain(|(at, ..)| now - at < SYNC);
        let (mut added, mut removed) = (0, 0);
        for (_, from, to) in &self.events {
            added += to.saturating_sub(*from);
            removed += from.saturating_sub(*to);
        }
        let start = current.saturating_sub(added) + removed;
        if wanted > current && self.up_limited {
            wanted.min((start + 4).max(start * 2).max(current))
        } else {
            // 100 % per 15 s allows any step down.
            wanted
        }
    }

    pub(super) fn forget(&mut self) {
        self.recommendations.clear();
        self.events.clear();
    }
}

/// The settings of an HPA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HpaSettings {
    /// Waiting tasks per replica.
    pub backlog: u64,
    /// The percentage of slots in use, as a second metric.
    pub slots_percent: Option<u32>,
    /// `scaleDown.stabilizationWindowSeconds`.
    pub window: Millis,
}

/// An HPA on the backlog gauge of the server's own metrics, through Prometheus and an adapter, and
/// on the slots in use if set. It cannot scale to zero.
#[derive(Debug)]
pub struct Hpa {
    name: String,
    settings: HpaSettings,
    slots: u32,
    grace: Millis,
    rules: Rules,
}

impl Hpa {
    /// With the defaults of `autoscaling/v2`, and this target backlog per replica.
    pub fn new(target: u64, min: u32, max: u32) -> Self {
        let settings = HpaSettings {
            backlog: target,
            slots_percent: None,
            window: 300_000,
        };
        let rules = Rules::new((min.max(1), max), settings.window, true);
        Self {
            name: format!("HPA, {target} per replica"),
            settings,
            slots: 1,
            grace: DEFAULT_GRACE,
            rules,
        }
    }

    /// With these settings and unlimited growth, for workers of this many slots that have this
    /// grace.
    pub fn with(settings: HpaSettings, slots: u32, grace: Millis, min: u32, max: u32) -> Self {
        Self {
            name: "HPA".to_owned(),
            settings,
            slots,
            grace,
            rules: Rules::new((min.max(1), max), settings.window, false),
        }
    }
}

/// The number of slots that a replica should have in use.
pub(super) fn slots_per_replica(slots: u32, percent: u32) -> f64 {
    f64::from(slots) * f64::from(percent) / 100.0
}

impl Scaler for Hpa {
    fn name(&self) -> &str {
        &self.name
    }

    fn initial_replicas(&self) -> u32 {
        self.rules.min
    }

    fn grace(&self) -> Millis {
        self.grace
    }

    fn wake(&mut self, cluster: &mut Cluster<'_>) -> Action {
        let now = cluster.now();
        let mut metrics = vec![(cluster.backlog_gauge(), self.settings.backlog as f64)];
        if let Some(percent) = self.settings.slots_percent {
            let target = slots_per_replica(self.slots, percent);
            metrics.push((cluster.slots_in_use(), target));
        }
        let replicas = self.rules.sync(now, &metrics, cluster.requested());
        Action {
            next: now + SYNC,
            scale: Some(Scale {
                replicas,
                costs: Vec::new(),
            }),
        }
    }

    fn restart(&mut self) {
        self.rules.forget();
    }
}
