//! The table of one trace. Text only.

use crate::time::Millis;

/// The numbers of one policy on one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The policy's name.
    pub policy: String,
    /// Whether it is this project's.
    pub own: bool,
    /// Median wait from arrival to first start.
    pub p50: Millis,
    /// 95th percentile.
    pub p95: Millis,
    /// 99th percentile.
    pub p99: Millis,
    /// The longest wait.
    pub max: Millis,
    /// Tasks that waited longer than the target, in thousandths.
    pub late_permille: u32,
    /// Worker-seconds ÷ ideal (all service time ÷ slots of a worker).
    pub cost: f64,
    /// How often the direction of scaling changed.
    pub reversals: u32,
    /// Starts from zero.
    pub from_zero: u32,
    /// Pods told to stop while they held a task.
    pub busy_removed: u32,
    /// Tasks cut off when a pod's grace ended.
    pub cut: Cut,
    /// Calls to Temporal.
    pub calls: u64,
    /// The most replicas asked for.
    pub peak: u32,
    /// Tasks that never ended while the simulation lasted.
    pub unfinished: u32,
}

/// Tasks that were cut off when a pod's grace ended, by what could have been known of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cut {
    /// Neither of the others: it could have been known.
    pub known: u32,
    /// No task longer than the grace had ended on the queue when the pod was told to stop, and no
    /// heartbeat that was read was from a pod on which one had run for longer than that.
    pub first: u32,
    /// It was started after the last heartbeat of its pod that the policy had read when it decided.
    pub raced: u32,
}

impl Cut {
    /// All of them.
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
