//! Learns how long a task takes, from the workers' own reports. Pure.
//!
//! Little's law: over any span, mean service time = (slots in use, summed over time) ÷ (tasks
//! processed). Both come from the workers' heartbeats, because the queue's dispatch rate leaves out
//! eager and sticky tasks. Both sums leave out the unseen last moments of a worker, so pods that
//! come and go do not distort the ratio.
//!
//! A pod is new only if this process saw it start. The past of any other pod is unknown, so
//! counting begins with its first heartbeat: otherwise a restart of the operator would attribute a
//! worker's lifetime count to one heartbeat.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::learned::Learned;
use crate::observation::{PerType, PodPhase, PodSlots, Slots, TaskType, TypeSlots};
use crate::slots::UNKNOWN_TOO_LONG;
use crate::time::{Time, millis};
use crate::work::{PerWork, Work};
use crate::worker::{Counts, WorkerMemory};

/// The assumed service time of an activity or a Nexus task before anything has been learned (or the
/// queue's wait target, if that is shorter). With the default target of 5 s it gives every waiting
/// task a slot of its own, the most that can help. With a long target it starts small, because
/// there is time to learn.
pub const DEFAULT_SERVICE_TIME: Duration = Duration::from_secs(5);
/// The same for a workflow task, which waits for nothing outside the worker. Most take
/// milliseconds; the rest is room for the replay of a long history.
pub const DEFAULT_WORKFLOW_TASK_TIME: Duration = Duration::from_millis(500);

/// A mean service time, and whether it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceTime {
    /// Measured from the workers' heartbeats.
    Learned {
        /// The mean.
        mean: Duration,
    },
    /// Not measured yet: [`DEFAULT_SERVICE_TIME`] or [`DEFAULT_WORKFLOW_TASK_TIME`], or more if
    /// tasks have visibly run longer.
    Assumed {
        /// The assumed mean.
        mean: Duration,
    },
}

impl ServiceTime {
    /// The mean to calculate with.
    pub const fn mean(self) -> Duration {
        match self {
            Self::Learned { mean } | Self::Assumed { mean } => mean,
        }
    }

    /// Whether it was measured.
    pub const fn is_learned(self) -> bool {
        matches!(self, Self::Learned { .. })
    }
}

/// The state kept for one pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PodMemory {
    reported_at: Option<Time>,
    /// Whether the pod came after the first slots reading.
    new: bool,
    /// When its first report was made.
    first_report: Option<Time>,
    /// Since when its worker has been running on a pod that is not ready, without a report.
    runs_since: Option<Time>,
    /// When the pod was last seen starting without a worker: no task had run on it by then.
    /// `None` = it was not seen starting, or its worker was there already.
    born: Option<Time>,
    /// Since when the pod has been draining, and what ran on it then.
    draining: Option<Draining>,
    work: PerWork<Option<WorkerMemory>>,
}

/// A draining pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draining {
    pub(crate) since: Time,
    /// The tasks in work when draining began.
    pub(crate) tasks: PerWork<u32>,
    /// Whether its worker is known to have finished them.
    finished: bool,
}

impl PodMemory {
    pub(crate) const fn work(&self, work: Work) -> Option<&WorkerMemory> {
        self.work.get(work).as_ref()
    }

    pub(crate) const fn draining(&self) -> Option<&Draining> {
        self.draining.as_ref()
    }

    /// Whether its last heartbeat is known, and had no task of one kind in work.
    fn is_idle(&self, work: Work) -> bool {
        self.work(work)
            .is_some_and(|memory| memory.counts().used == 0)
    }

    /// The tasks of one kind in work at its last heartbeat.
    fn in_work(&self, work: Work) -> u32 {
        self.work(work).map_or(0, |memory| memory.counts().used)
    }
}

/// Everything learned from heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Learner {
    learned: PerWork<Learned>,
    pods: BTreeMap<String, PodMemory>,
    /// When the first slots reading was recorded.
    since: Option<Time>,
    /// Whether a slots reading has been recorded, so a pod that comes is a new one.
    watches: bool,
    heard: bool,
    processed_grew: bool,
    /// The processed tasks counted since this state exists.
    processed: PerType<u64>,
}

impl Learner {
    /// Records a slots reading. A heartbeat that was seen before changes nothing.
    pub(crate) fn observe(&mut self, slots: &Slots, grace: Duration, now: Time) {
        self.since.get_or_insert(now);
        self.processed_grew = false;
        self.forget_the_gone(slots, grace, now);
        for pod in &slots.pods {
            self.observe_pod(pod, now);
        }
        self.watches = true;
        for task_type in TaskType::ALL {
            self.learn_slots(slots, task_type);
            self.learn_age(task_type);
        }
    }

    /// Records the draining pods whose workers are known to have finished. Call it before
    /// [`Self::observe`] with slots that no longer have these pods.
    pub(crate) fn observe_drained(&mut self, pods: &[String]) {
        for pod in pods {
            let memory = self.pods.get_mut(pod);
            if let Some(draining) = memory.and_then(|memory| memory.draining.as_mut()) {
                draining.finished = true;
            }
        }
    }

    /// A draining pod that is gone well before its grace period ends proves that its tasks end in
    /// time, if it is known to have finished them: a killed worker finishes nothing. A pod that
    /// used up its grace period had a task that outlasts it.
    fn forget_the_gone(&mut self, slots: &Slots, grace: Duration, now: Time) {
        let present: std::collections::BTreeSet<&str> =
            slots.pods.iter().map(|pod| &*pod.pod).collect();
        let Self { learned, pods, .. } = self;
        pods.retain(|name, memory| {
            let stays = present.contains(&**name);
            if let Some(draining) = memory.draining.as_ref().filter(|_| !stays) {
                let took = now.since(draining.since);
                for work in Work::ALL {
                    let tasks = *draining.tasks.get(work);
                    let finished = draining.finished || memory.is_idle(work);
                    let learned = learned.get_mut(work);
                    if tasks > 0 && finished && took <= in_good_time(grace) {
                        learned.saw_drained(tasks, now);
                    } else if memory.in_work(work) > 0 && took >= used_up(grace) {
                        learned.saw_running(grace.saturating_add(Duration::from_millis(1)), now);
                    }
                }
            }
            stays
        });
    }

    fn observe_pod(&mut self, pod: &PodSlots, now: Time) {
        let memory = self.pods.entry(pod.pod.clone());
        let memory = memory.or_insert_with(|| PodMemory {
            new: self.watches,
            ..PodMemory::default()
        });
        if pod.phase.is_starting() && !pod.listed {
            memory.born = Some(now);
        }
        if pod.phase == PodPhase::Starting && !pod.listed {
            memory.runs_since.get_or_insert(now);
        } else {
            memory.runs_since = None;
        }
        if pod.phase == PodPhase::Terminating && memory.draining.is_none() {
            let mut tasks = PerWork::default();
            for work in Work::ALL {
                // If a pod was already draining when it was first seen, its present report counts.
                let says = work.slots(pod).filter(|_| memory.work(work).is_none());
                *tasks.get_mut(work) = says.map_or_else(|| memory.in_work(work), |says| says.used);
            }
            memory.draining = Some(Draining {
                since: now,
                tasks,
                finished: false,
            });
        }
        let Some(reported_at) = pod.reported_at else {
            return;
        };
        if memory
            .reported_at
            .is_some_and(|before| before >= reported_at)
        {
            return;
        }
        self.heard = true;
        memory.reported_at = Some(reported_at);
        memory.first_report.get_or_insert(reported_at);
        for work in Work::ALL {
            let Some(slots) = work.slots(pod) else {
                continue;
            };
            let Some(processed) = slots.processed_total else {
                // Without a count nothing can be learned. If a count appears later, the tasks
                // processed meanwhile belong to a span that was not measured.
                *memory.work.get_mut(work) = None;
                memory.born = None;
                continue;
            };
            let counts = Counts {
                used: slots.used,
                processed,
            };
            let sent_after = pod.reported_after.unwrap_or(reported_at);
            let born = memory.born;
            let worker = memory.work.get_mut(work);
            if worker.is_none() {
                *worker = born.map(WorkerMemory::born);
            }
            let learned = self.learned.get_mut(work);
            // A count that has decreased belongs to another worker.
            let followed = worker
                .as_mut()
                .filter(|worker| worker.counts().processed <= processed);
            match followed {
                Some(worker) => {
                    let done = processed.saturating_sub(worker.counts().processed);
                    self.processed_grew |= done > 0;
                    if let Work::Here(task_type) = work {
                        let sum = self.processed.get_mut(task_type);
                        *sum = sum.saturating_add(done);
                    }
                    let all = slots
                        .available
                        .map(|available| available.saturating_add(slots.used));
                    learned.add(worker, counts, all, reported_at, assumed(work));
                    if let Some(ended) = worker.advance(counts, reported_at, sent_after) {
                        learned.saw_ended(ended, reported_at);
                    }
                }
                None => *worker = Some(WorkerMemory::first(counts, reported_at, sent_after)),
            }
            let running = worker.as_ref().and_then(|last| last.running(reported_at));
            if let Some(running) = running.filter(|running| !running.is_zero()) {
                learned.saw_running(running, reported_at);
            }
        }
    }

    /// Learns the mean slots of a ready replica.
    fn learn_slots(&mut self, slots: &Slots, task_type: TaskType) {
        let (mut total, mut pods) = (0_u64, 0_u64);
        for pod in slots
            .pods
            .iter()
            .filter(|pod| pod.fresh && pod.phase == PodPhase::Ready)
        {
            if let Some(TypeSlots {
                used,
                available: Some(available),
                ..
            }) = pod.types.get(task_type)
            {
                total = total
                    .saturating_add(u64::from(*used))
                    .saturating_add(u64::from(*available));
                pods = pods.saturating_add(1);
            }
        }
        if let Some(mean) = total.checked_div(pods).filter(|mean| *mean > 0) {
            let mean = u32::try_from(mean).unwrap_or(u32::MAX);
            self.learned
                .get_mut(Work::Here(task_type))
                .slots_per_replica = Some(mean);
        }
    }

    fn learn_age(&mut self, task_type: TaskType) {
        let (mut used, mut age) = (0_u64, 0_u64);
        let work = Work::Here(task_type);
        for worker in self.pods.values().filter_map(|pod| pod.work(work)) {
            // What ran at the last heartbeat may have ended since.
            let running = millis(worker.running(worker.seen_at()).unwrap_or_default());
            let in_use = u64::from(worker.counts().used);
            used = used.saturating_add(in_use);
            age = age.saturating_add(running.saturating_mul(in_use));
        }
        let mean = age.checked_div(used).unwrap_or(0);
        self.learned.get_mut(work).mean_age = Duration::from_millis(mean);
    }

    /// The mean service time to calculate with, never zero. At most `most` is assumed, unless the
    /// tasks in flight are older.
    pub(crate) fn service_time(
        &self,
        task_type: TaskType,
        most: Duration,
        now: Time,
    ) -> ServiceTime {
        let learned = self.learned(Work::Here(task_type));
        learned.mean().map_or_else(
            || {
                let of_the_kind = assumed(Work::Here(task_type));
                let assumed = learned.assumed(of_the_kind.min(most), now);
                ServiceTime::Assumed {
                    mean: assumed.max(Duration::from_millis(1)),
                }
            },
            |mean| ServiceTime::Learned { mean },
        )
    }

    /// Tasks of this type that have ended took at most `most` on average.
    pub(crate) fn cap(&mut self, task_type: TaskType, most: Duration, at: Time) {
        self.learned.get_mut(Work::Here(task_type)).cap(most, at);
    }

    /// Slots per replica, as last reported.
    pub(crate) fn slots_per_replica(&self, task_type: TaskType) -> Option<u32> {
        self.learned(Work::Here(task_type)).slots_per_replica
    }

    /// The longest time that a task of this type has certainly run.
    pub(crate) fn longest(&self, task_type: TaskType) -> Option<Duration> {
        self.learned(Work::Here(task_type)).longest_ever()
    }

    /// What has been learned about one kind of work.
    pub(crate) const fn learned(&self, work: Work) -> &Learned {
        self.learned.get(work)
    }

    /// The state kept for a pod.
    pub(crate) fn pod(&self, name: &str) -> Option<&PodMemory> {
        self.pods.get(name)
    }

    /// Whether a pod that reports no task may have taken some since it was started. A worker sends
    /// its first report before it takes a task, so only later ones count. A worker that has run for
    /// long and is not listed does not take tasks.
    pub(crate) fn is_unread(&self, pod: &PodSlots, now: Time) -> bool {
        self.pod(&pod.pod).is_some_and(|memory| {
            let first = memory.first_report;
            if pod.fresh {
                memory.new && (pod.reported_at <= first || pod.reported_after < first)
            } else {
                let runs = memory.runs_since;
                runs.is_some_and(|since| now.since(since) < UNKNOWN_TOO_LONG)
            }
        })
    }

    /// The state kept for every pod.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &PodMemory> {
        self.pods.values()
    }

    /// Since when the workers have been watched.
    pub(crate) const fn since(&self) -> Option<Time> {
        self.since
    }

    /// The number of tasks of a type seen to be processed.
    pub(crate) const fn processed(&self, task_type: TaskType) -> u64 {
        *self.processed.get(task_type)
    }

    /// Whether any worker of this queue has ever sent a heartbeat.
    pub(crate) const fn heard(&self) -> bool {
        self.heard
    }

    /// Whether the last reading showed more processed tasks than the one before.
    pub(crate) const fn processed_grew(&self) -> bool {
        self.processed_grew
    }
}

/// How long a task of a kind is taken to run before anything is known.
const fn assumed(work: Work) -> Duration {
    match work {
        Work::Here(TaskType::Workflow) => DEFAULT_WORKFLOW_TASK_TIME,
        Work::Here(TaskType::Activity | TaskType::Nexus) | Work::Elsewhere => DEFAULT_SERVICE_TIME,
    }
}

/// A drain that ends within this time proves that the grace period was sufficient.
fn in_good_time(grace: Duration) -> Duration {
    grace.checked_div(2).unwrap_or(grace)
}

/// A drain of at least this length has used up its grace period. The slack covers the delay in
/// seeing its beginning and end.
fn used_up(grace: Duration) -> Duration {
    const SEEN_LATE: Duration = Duration::from_secs(10);
    let slack = SEEN_LATE.min(grace.checked_div(4).unwrap_or_default());
    grace.saturating_sub(slack)
}
