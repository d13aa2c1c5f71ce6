//! The table of one trace. Produces text only.

use crate::time::Millis;

/// The numbers of one policy on one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The policy's name.
    pub policy: String,
    /// Whether it is this project's policy.
    pub own: bool,
    /// Median wait from arrival to first start.
    pub p50: Millis,
    /// The 95th percentile of the wait.
    pub p95: Millis,
    /// The 99th percentile of the wait.
    pub p99: Millis,
    /// The longest wait.
    pub max: Millis,
    /// Tasks that waited longer than the target, in thousandths of all tasks.
    pub late_permille: u32,
    /// Worker-seconds ÷ ideal (all service time ÷ slots of a worker).
    pub cost: f64,
    /// How often the direction of scaling changed.
    pub reversals: u32,
    /// Starts from zero.
    pub from_zero: u32,
    /// Pods terminated while they had a task in work.
    pub busy_removed: u32,
    /// Tasks cut off when a pod's grace ended.
    pub cut: Cut,
    /// Calls to Temporal.
    pub calls: u64,
    /// The maximum number of replicas requested.
    pub peak: u32,
    /// Tasks that had not ended when the simulation did.
    pub unfinished: u32,
}

/// Tasks cut off when a pod's grace ended, by what could have been known about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cut {
    /// It could have been known: neither of the other two applies.
    pub known: u32,
    /// No task longer than the grace had ended on the queue when the pod was terminated, and no
    /// heartbeat read by then came from a pod on which one had run for longer than the grace.
    pub first: u32,
    /// The task started after the last heartbeat of its pod that the policy had read when it
    /// decided.
    pub raced: u32,
}

impl Cut {
    /// The sum of all three.
    pub const fn total(self) -> u32 {
        self.known + self.first + self.raced
    }
}

/// The table of one trace, as plain text.
pub fn table<'a>(summaries: impl IntoIterator<Item = &'a Summary>) -> String {
    let mut text = format!(
        "{:<24}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>6}{:>6}{:>6}{:>6}{:>6}{:>6}{:>7}{:>6}\n",
        "policy",
        "p50 s",
        "p95 s",
        "p99 s",
        "max s",
        "late %",
        "cost",
        "flips",
        "0to1",
        "busy",
        "known",
        "first",
        "raced",
        "calls",
        "peak"
    );
    for row in summaries {
        let seconds = |millis: Millis| format!("{:.1}", millis as f64 / 1000.0);
        text.extend([format!(
            "{:<24}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>6}{:>6}{:>6}{:>6}{:>6}{:>6}{:>7}{:>6}",
            row.policy,
            seconds(row.p50),
            seconds(row.p95),
            seconds(row.p99),
            seconds(row.max),
            format!("{:.1}", f64::from(row.late_permille) / 10.0),
            format!("{:.2}", row.cost),
            row.reversals,
            row.from_zero,
            row.busy_removed,
            row.cut.known,
            row.cut.first,
            row.cut.raced,
            row.calls,
            row.peak
        )]);
        text.push('\n');
    }
    text
}
