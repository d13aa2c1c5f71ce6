//! The policies that enter the contest, and the settings over which the rivals are searched.

use taskqueue_scaling::Policy;

use crate::engine::Scaler;
use crate::scaler::{Fixed, Hpa, HpaSettings, Keda, KedaSettings, RateBased, TaskQueue};
use crate::time::Millis;
use crate::trace::Setup;

/// A policy with its setting.
#[derive(Debug, Clone, PartialEq)]
pub enum Entrant {
    /// This project's policy at its defaults but for these.
    Ours {
        /// The interval between heartbeats.
        heartbeat: Millis,
        /// `targetUtilization` in percent, if set.
        utilization: Option<u32>,
    },
    /// KEDA.
    Keda(KedaSettings),
    /// The HPA.
    Hpa(HpaSettings),
    /// Temporal's rate-based autoscaler: the initial capacity in tenths of a task per second, and
    /// the target utilization in percent.
    RateBased(u32, u32),
    /// A fleet of this size.
    Fixed(u32),
}

impl Entrant {
    /// This project's policy at its defaults, with this interval between heartbeats.
    pub const fn ours(heartbeat: Millis) -> Self {
        Self::Ours {
            heartbeat,
            utilization: None,
        }
    }

    /// The name with the setting.
    pub fn name(&self) -> String {
        let seconds = |millis: Millis| millis / 1000;
        match self {
            Self::Ours {
                heartbeat,
                utilization,
            } => {
                let share = utilization.map_or(String::new(), |percent| format!(" at {percent} %"));
                format!("ours{share}, beat {} s", seconds(*heartbeat))
            }
            Self::Keda(KedaSettings {
                backlog,
                slots_percent,
                window,
                ..
            }) => {
                let slots =
                    slots_percent.map_or(String::new(), |percent| format!(", {percent} % slots"));
                format!("KEDA {backlog}{slots}, {} s", seconds(*window))
            }
            Self::Hpa(HpaSettings {
                backlog,
                slots_percent,
                window,
            }) => {
                let slots = slots_percent.unwrap_or(100);
                format!("HPA {backlog}, {slots} % slots, {} s", seconds(*window))
            }
            Self::RateBased(tenths, percent) => {
                format!("rate-based {}/s, {percent} %", f64::from(*tenths) / 10.0)
            }
            Self::Fixed(replicas) => format!("fixed {replicas}"),
        }
    }

    /// Whether its results depend on the wait target. Nobody else has one.
    pub const fn knows_target(&self) -> bool {
        matches!(self, Self::Ours { .. })
    }

    /// Builds the scaler for a setup, and adapts the setup to it.
    pub fn scaler(&self, setup: &mut Setup) -> Box<dyn Scaler> {
        let Setup {
            slots,
            grace,
            min,
            max,
            ..
        } = *setup;
        match self {
            Self::Ours {
                heartbeat,
                utilization,
            } => {
                setup.heartbeat = *heartbeat;
                // The default, not the truth: the heartbeats tell it.
                let policy = Policy {
                    slots_per_replica: Policy::default().slots_per_replica,
                    target_utilization: *utilization,
                    ..TaskQueue::policy(setup)
                };
                Box::new(TaskQueue::new("ours", setup, policy))
            }
            Self::Keda(settings) => Box::new(Keda::with(*settings, slots, grace, min, max)),
            Self::Hpa(settings) => Box::new(Hpa::with(*settings, slots, grace, min, max)),
            Self::RateBased(tenths, percent) => Box::new(RateBased::with(
                f64::from(*tenths) / 10.0,
                f64::from(*percent) / 100.0,
                grace,
                min,
                max,
            )),
            Self::Fixed(replicas) => Box::new(Fixed::new(*replicas)),
        }
    }
}

/// A kind of rival.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// What it is.
    pub name: &'static str,
    /// Every setting that is searched.
    pub settings: Vec<Entrant>,
    /// The settings that the search finds on [`Part::Chosen`](crate::contest::Part): the one with
    /// the lowest geometric mean cost, where a missed target counts as twice the cost, and the
    /// cheapest of those that meet the most targets at no more than three times the lowest cost of
    /// all kinds.
    pub chosen: [Entrant; 2],
}

/// Every kind of rival.
pub fn kinds() -> Vec<Kind> {
    let windows = [30_000, 60_000, 300_000];
    let (mut one, mut two, mut hpa) = (Vec::new(), Vec::new(), Vec::new());
    for window in windows {
        one.extend([2, 5, 10, 20, 50, 200].map(|backlog| keda(backlog, None, window)));
        for backlog in [2, 5, 20, 50, 200] {
            for percent in [50, 60, 75, 85, 95] {
                two.push(keda(backlog, Some(percent), window));
                hpa.push(hpa_on(backlog, percent, window));
            }
        }
    }
    let rate = [5, 20, 80, 320]
        .into_iter()
        .flat_map(|tenths| [60, 80, 95].map(|percent| Entrant::RateBased(tenths, percent)));
    vec![
        Kind {
            name: "KEDA, one trigger",
            settings: one,
            chosen: [keda(200, None, 30_000), keda(10, None, 30_000)],
        },
        Kind {
            name: "KEDA, two triggers",
            settings: two,
            chosen: [keda(200, Some(85), 30_000), keda(5, Some(50), 300_000)],
        },
        Kind {
            name: "HPA, two metrics",
            settings: hpa,
            chosen: [hpa_on(200, 85, 30_000), hpa_on(5, 50, 300_000)],
        },
        Kind {
            name: "Temporal rate-based",
            settings: rate.collect(),
            chosen: [Entrant::RateBased(80, 60), Entrant::RateBased(20, 95)],
        },
    ]
}

const fn keda(backlog: u64, slots_percent: Option<u32>, window: Millis) -> Entrant {
    Entrant::Keda(KedaSettings {
        backlog,
        slots_percent,
        window,
        cooldown: window,
        polling: 5_000,
    })
}

const fn hpa_on(backlog: u64, percent: u32, window: Millis) -> Entrant {
    Entrant::Hpa(HpaSettings {
        backlog,
        slots_percent: Some(percent),
        window,
    })
}
