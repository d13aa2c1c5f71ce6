//! The HorizontalPodAutoscaler on an external metric (AverageValue), according to its published
//! rules: `desired = ceil(metric ÷ target)`, tolerance, behaviour with stabilisation windows and
//! policies.

use std::collections::VecDeque;

use crate::engine::{Action, Cluster, Scale, Scaler};
use crate::time::Millis;

/// How often the controller runs.
const SYNC: Millis = 15_000;

/// The rules of the HPA itself, used by [`Hpa`] and by KEDA.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// The target metric per replica.
    pub(super) target: u64,
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
    pub(super) fn new(
        target: u64,
        (min, max): (u32, u32),
        down_window: Millis,
        up_limited: bool,
    ) -> Self {
        Self {
            target,
            min,
            max,
            down_window,
            up_limited,
            recommendations: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The desired replicas for this metric.
    pub(super) fn sync(&mut self, now: Millis, metric: u64, current: u32) -> u32 {
        let ratio = metric as f64 / (self.target * u64::from(current.max(1))) as f64;
        let within = current > 0 && (ratio - 1.0).abs() <= 0.1;
        let raw = if within {
            current
        } else {
            metric.div_ceil(self.target) as u32
        };
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

/// An HPA on the backlog gauge of the server's own metrics, through Prometheus and an adapter. It
/// cannot scale to zero.
#[derive(Debug)]
pub struct Hpa {
    name: String,
    rules: Rules,
}

impl Hpa {
    /// With the defaults of `autoscaling/v2`, and this target backlog per replica.
    pub fn new(target: u64, min: u32, max: u32) -> Self {
        let name = format!("HPA, {target} per replica");
        Self {
            name,
            rules: Rules::new(target, (min.max(1), max), 300_000, true),
        }
    }
}

impl Scaler for Hpa {
    fn name(&self) -> &str {
        &self.name
    }

    fn initial_replicas(&self) -> u32 {
        self.rules.min
    }

    fn wake(&mut self, cluster: &mut Cluster<'_>) -> Action {
        let now = cluster.now();
        let replicas = self
            .rules
            .sync(now, cluster.backlog_gauge(), cluster.requested());
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
