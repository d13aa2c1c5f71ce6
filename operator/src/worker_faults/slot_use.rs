//! Activity slots that no pod ever uses. Pure.
//!
//! Only activities count: a workflow task takes milliseconds, so few of its slots are ever in use
//! at once. A queue that has little to do says nothing about its slots. So they count as never used
//! only after the workers had reason to use them: tasks enough for more than a tenth of a pod's
//! slots waited from one report of the pod to the next, or the pods have processed more tasks than
//! one has slots. A report is a sample: short tasks may use many slots between two of them, so
//! several are needed.

use taskqueue_scaling::{Backlog, PodSlots, Reading, Time};

use super::verdict::Verdict;

/// Fewer slots than this are never too many. The SDKs' defaults are 100 to 200, except Go's, which
/// is 1000.
const MANY: u32 = 250;
/// Slots of which less than one in this many is used count as not used.
const SHARE: u32 = 10;
/// How many reports must show that slots stay free while tasks wait.
const WHILE_TASKS_WAIT: u32 = 3;
/// How many reports must show that tasks have ended since the one before.
const WITH_WORK: u32 = 12;

/// How the activity slots of the pods of one queue have been used.
#[derive(Debug, Default)]
pub(super) struct SlotUse {
    /// The slots of a pod, in the last report.
    total: u32,
    /// The most slots that were in use on one pod.
    peak: u32,
    /// Tasks that were processed while they were counted.
    processed: u64,
    /// Reports that show processed tasks.
    with_work: u32,
    /// Reports that show processed tasks while many more waited.
    while_tasks_wait: u32,
    /// Since when that many tasks have waited.
    waits_since: Option<Time>,
}

/// The last report of one pod.
#[derive(Debug, Default)]
pub(super) struct SlotRecord {
    reported_at: Option<Time>,
    processed: Option<u64>,
}

impl SlotUse {
    /// Takes in how many tasks wait.
    pub(super) fn waiting(&mut self, backlog: &Reading<Backlog>) {
        let waiting = backlog
            .known()
            .and_then(|backlog| backlog.types.activity)
            .filter(|activity| !activity.rate_limited)
            .map_or(0, |activity| activity.count);
        if waiting > u64::from(self.total / SHARE) && self.total > 0 {
            self.waits_since = self.waits_since.or(backlog.taken_at());
        } else {
            self.waits_since = None;
        }
    }

    /// Takes in the report of a pod, if it is new.
    pub(super) fn next(&mut self, pod: &PodSlots, record: &mut SlotRecord) -> Verdict {
        let Some(reported_at) = pod.reported_at else {
            return Verdict::Open;
        };
        let before = record.reported_at;
        if before.is_some_and(|before| before >= reported_at) {
            return Verdict::Open;
        }
        record.reported_at = Some(reported_at);
        let activity = pod.types.activity;
        // A worker without a fixed number of slots has none too many.
        let limited = activity.and_then(|slots| Some((slots, slots.available?)));
        let Some((slots, available)) = limited else {
            return Verdict::Open;
        };
        self.total = slots.used.saturating_add(available);
        self.peak = self.peak.max(slots.used);
        let counted = std::mem::replace(&mut record.processed, slots.processed_total);
        let ended = counted.zip(slots.processed_total);
        let ended = ended.map_or(0, |(before, after)| after.saturating_sub(before));
        if ended > 0 {
            self.processed = self.processed.saturating_add(ended);
            self.with_work = self.with_work.saturating_add(1);
            let waited = self.waits_since.zip(before);
            let waited = waited.is_some_and(|(since, before)| since <= before);
            self.while_tasks_wait = self.while_tasks_wait.saturating_add(u32::from(waited));
        }
        self.verdict(&pod.pod)
    }

    fn verdict(&self, pod: &str) -> Verdict {
        let Self { total, peak, .. } = *self;
        if total < MANY || peak > total / SHARE {
            return Verdict::Fine;
        }
        let why = if self.while_tasks_wait >= WHILE_TASKS_WAIT {
            "although tasks waited"
        } else if self.with_work >= WITH_WORK && self.processed > u64::from(total) {
            "although the pods have processed more tasks than that"
        } else {
            return Verdict::Open;
        };
        Verdict::Fault {
            pod: pod.to_owned(),
            evidence: format!(
                "no pod has been seen with more than {peak} of its {total} activity slots in use, \
                 {why}"
            ),
        }
    }
}
