//! Runs all policies on one scenario. Deterministic, no I/O.

use std::time::Duration;

use taskqueue_scaling::Policy;

use crate::engine::{Outcome, Scaler, run};
use crate::report::{Summary, table};
use crate::scaler::{Fixed, Hpa, Keda, RateBased, TaskQueue};
use crate::scenario::Scenario;
use crate::time::Millis;
use crate::trace::{Setup, Trace};

/// The results of all policies on one scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// This project's policy: its defaults in [`compare`], the given one in [`compare_with`].
    pub ours: Outcome,
    /// Variants of ours, then the others.
    pub others: Vec<Outcome>,
}

impl Comparison {
    /// The other projects' policies with both a lower 99th percentile and a lower cost.
    pub fn ahead(&self) -> Vec<&Summary> {
        let ours = &self.ours.summary;
        let better =
            |other: &&Summary| !other.own && other.p99 < ours.p99 && other.cost < ours.cost;
        self.others
            .iter()
            .map(|outcome| &outcome.summary)
            .filter(better)
            .collect()
    }

    /// The table, with a line about the policies that are ahead in both wait and cost.
    pub fn table(&self) -> String {
        let all = std::iter::once(&self.ours).chain(&self.others);
        let mut text = table(all.map(|outcome| &outcome.summary));
        let names: Vec<&str> = self.ahead().iter().map(|row| row.policy.as_str()).collect();
        text.push_str("\nlower in both p99 and cost than ours: ");
        text.push_str(&if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        });
        text.push('\n');
        if names.iter().any(|name| name.starts_with("fixed")) {
            text.push_str(
                "the fixed fleet is the smallest that meets the target, chosen with knowledge of \
                 the whole trace\n",
            );
        }
        text
    }
}

/// Runs all policies, ours with its defaults.
pub fn compare(scenario: &Scenario) -> Comparison {
    compare_with(scenario, &TaskQueue::policy(&scenario.setup), false)
}

/// Runs all policies: ours as given, the same with Kubernetes' default grace of 30 s and with the
/// SDKs' default heartbeat interval of 60 s, and the others. `forecast`: ours have a forecast.
pub fn compare_with(scenario: &Scenario, policy: &Policy, forecast: bool) -> Comparison {
    let Scenario { trace, setup } = scenario;
    let (min, max) = (setup.min, setup.max);
    let grace = policy.drain_grace_period.as_millis() as Millis;
    let short = Policy {
        drain_grace_period: Duration::from_secs(30),
        ..policy.clone()
    };
    let slow = Setup {
        heartbeat: 60_000,
        ..setup.clone()
    };
    // The tasks that a replica finishes within the target at the true mean service time.
    let fitting = u64::from(setup.slots) * setup.target / trace.mean_service().max(1);
    let fleet = smallest_fixed_fleet(trace, setup);
    let ours = |name, setup, policy| {
        let scaler = TaskQueue::new(name, setup, policy);
        if forecast {
            scaler.with_forecast()
        } else {
            scaler
        }
    };
    let others: [(&Setup, &mut dyn Scaler); 7] = [
        (setup, &mut ours("  grace of 30 s", setup, short)),
        (
            &slow,
            &mut ours("  heartbeats of 60 s", &slow, policy.clone()),
        ),
        (setup, &mut Keda::defaults(min, max)),
        (setup, &mut Keda::tuned(fitting, grace, min, max)),
        (setup, &mut Hpa::new(5, min, max)),
        (setup, &mut RateBased::new(min, max)),
        (setup, &mut Fixed::new(fleet)),
    ];
    let mut ours = ours("taskqueue-operator", setup, policy.clone());
    Comparison {
        ours: run(trace, setup, &mut ours),
        others: others
            .into_iter()
            .map(|(setup, scaler)| run(trace, setup, scaler))
            .collect(),
    }
}

/// The smallest fixed fleet that keeps the 99th percentile of the wait within the target, chosen
/// with knowledge of the whole trace; the maximum if none does.
pub fn smallest_fixed_fleet(trace: &Trace, setup: &Setup) -> u32 {
    let keeps =
        |replicas: u32| run(trace, setup, &mut Fixed::new(replicas)).summary.p99 <= setup.target;
    let (mut low, mut high) = (0, setup.max);
    while low + 1 < high {
        let middle = u32::midpoint(low, high);
        if keeps(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}
