//! Which pods may be terminated: those without tasks, and those whose tasks are known to end within
//! the drain grace period. If that is unknown, the pod stays. Pure.
//!
//! Each pod is judged by its own heartbeats against what is known of the queue's tasks:
//! - no slot in use: the pod may go;
//! - it has just started, and its worker has sent no heartbeat but the first, which comes before
//!   any task: it stays;
//! - tasks of this kind are known to run longer than the grace period: it stays;
//! - a task on it has run longer than any task that was seen to end, so the rest of its run time is
//!   unknown: it stays;
//! - too few tasks have been seen to know how long they take, or the workers have not been watched
//!   for one grace period yet (after a restart, for example): it stays;
//! - otherwise the pod could go, but a task that outlasts the grace period may hide among short
//!   ones, because counts do not tell which task has ended. So the fleet waits for idle pods. That
//!   wait is futile if many short tasks keep every pod busy; if the fleet is also far larger than
//!   necessary, one busy pod drains. Each drain that is known to have ended in good time is proof
//!   for the next ones: twice as many tasks may drain at once.

use std::cmp::Reverse;
use std::time::Duration;

use crate::learn::Learner;
use crate::observation::{PodPhase, PodSlots, Replicas};
use crate::slots::is_blind;
use crate::time::Time;
use crate::work::{PerWork, Work};
use crate::worker::WorkerMemory;

/// Why a pod must not be terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// There is no fresh heartbeat, so what runs on the pod is unknown.
    NotHeard,
    /// The pod has been started, and no heartbeat since shows whether it has taken tasks.
    JustStarted,
    /// Tasks like those on the pod are known to run longer than the grace period.
    Outlasts,
    /// A task on the pod has run longer than any task that was seen to end.
    LongestYet,
    /// Too few tasks have been seen to know how long they take.
    NotLearned,
    /// No objection, but no drain has proven yet that such tasks end in good time.
    Unproven,
    /// A pod that must stay comes before it: a busy pod that is not ready, which Kubernetes removes
    /// first.
    Behind,
    /// A task runs on the pod, and it has the highest ordinal of its StatefulSet that is not idle.
    HighestBusy,
    /// A busy pod of the StatefulSet has a higher ordinal, and would be removed first.
    Below,
}

impl Hold {
    /// Every reason, for metrics and tables in the docs.
    pub const ALL: [Self; 9] = [
        Self::NotHeard,
        Self::JustStarted,
        Self::Outlasts,
        Self::LongestYet,
        Self::NotLearned,
        Self::Unproven,
        Self::Behind,
        Self::HighestBusy,
        Self::Below,
    ];

    /// The reason as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotHeard => "NotHeard",
            Self::JustStarted => "JustStarted",
            Self::Outlasts => "Outlasts",
            Self::LongestYet => "LongestYet",
            Self::NotLearned => "NotLearned",
            Self::Unproven => "Unproven",
            Self::Behind => "Behind",
            Self::HighestBusy => "HighestBusy",
            Self::Below => "Below",
        }
    }

    /// The reason as a clause about the pod.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NotHeard => "sends no fresh heartbeat, so its tasks are unknown",
            Self::JustStarted => {
                "has just started, and no heartbeat shows yet whether it has taken tasks"
            }
            Self::Outlasts => "runs tasks that can take longer than the drain grace period",
            Self::LongestYet => "runs a task that has already taken longer than any completed task",
            Self::NotLearned => "is busy, and how long its tasks take is not known yet",
            Self::Unproven => {
                "is busy, and its tasks are not yet proven to end within the drain grace period"
            }
            Self::Behind => {
                "must wait, because Kubernetes first removes a busy pod that is not ready"
            }
            Self::HighestBusy => {
                "is busy, and a StatefulSet removes it before the pods with lower ordinals"
            }
            Self::Below => {
                "must wait, because a StatefulSet first removes a busy pod with a higher ordinal"
            }
        }
    }
}

/// A pod that must not be terminated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPod {
    /// The pod's name.
    pub pod: String,
    /// Why it stays.
    pub hold: Hold,
}

/// Whether a pod may be terminated, judged on its own.
enum Verdict {
    /// No task runs on it.
    Idle,
    /// No objection. Its tasks by kind, and the maximum run time of the oldest one so far.
    MayGo {
        tasks: PerWork<u32>,
        oldest: Duration,
    },
    Stays(Hold),
}

/// The pods in the order of removal, and how many may go.
pub(crate) struct Release<'a> {
    /// How many of the requested replicas may go.
    pub(crate) replicas: u32,
    /// The live pods in the order of removal. Kubernetes follows this order among the ready pods
    /// and, separately, among those that are not ready.
    pub(crate) order: Vec<&'a PodSlots>,
    /// The pods that must stay.
    pub(crate) held: Vec<HeldPod>,
}

/// Live pods beyond the requested replicas. Kubernetes has yet to remove them, so they must not be
/// counted for removal again.
pub(crate) fn surplus(replicas: &Replicas, live: usize) -> u32 {
    u32::try_from(live)
        .unwrap_or(u32::MAX)
        .saturating_sub(replicas.requested)
}

/// The same for pods that are removed from the highest ordinal down. A lower pod may be missing for
/// a while, because it was deleted or evicted; it comes back, and the pods above stay surplus.
fn surplus_by_ordinal(replicas: &Replicas, first: u32, live: &[&PodSlots]) -> u32 {
    let end = first.saturating_add(replicas.requested);
    let beyond = live.iter().filter(|pod| ordinal(&pod.pod) >= end).count();
    let beyond = u32::try_from(beyond).unwrap_or(u32::MAX);
    beyond.max(surplus(replicas, live.len()))
}

/// The ordinal in the name of a StatefulSet's pod; 0 if it has none.
pub(crate) fn ordinal(pod: &str) -> u32 {
    let number = pod.rsplit_once('-').map(|(_, number)| number.parse());
    number.and_then(Result::ok).unwrap_or(0)
}

/// The facts by which the pods of one queue are judged.
pub(crate) struct Judge<'a> {
    pub(crate) learner: &'a Learner,
    pub(crate) grace: Duration,
    pub(crate) now: Time,
    /// Whether the fleet is so much larger than necessary that a busy pod may go without proof.
    pub(crate) drains: bool,
    /// The lowest ordinal of the pods, if they have ordinals.
    pub(crate) first_ordinal: u32,
}

impl Judge<'_> {
    /// Ranks the pods and returns how many replicas may go: the longest prefix of Kubernetes'
    /// removal order in which no pod must stay.
    pub(crate) fn release<'a>(&self, replicas: &Replicas, pods: &'a [PodSlots]) -> Release<'a> {
        let live: Vec<&PodSlots> = pods
            .iter()
            .filter(|pod| pod.phase != PodPhase::Terminating)
            .collect();
        let count = |pods: usize| u32::try_from(pods).unwrap_or(u32::MAX);
        if replicas.by_ordinal {
            return self.release_by_ordinal(replicas, live);
        }
        // Replicas that were requested but never created can always go.
        let mut free = replicas.requested.saturating_sub(count(live.len()));
        let going = surplus(replicas, live.len());
        let mut judged: Vec<(&PodSlots, Verdict)> = live
            .into_iter()
            .map(|pod| (pod, self.verdict(pod)))
            .collect();
        judged.sort_by_key(|(pod, verdict)| {
            let (class, oldest) = match verdict {
                Verdict::Idle => (0, Duration::ZERO),
                Verdict::MayGo { oldest, .. } => (1, *oldest),
                Verdict::Stays(_) => (2, Duration::ZERO),
            };
            (
                pod.phase == PodPhase::Ready,
                class,
                oldest,
                is_blind(pod),
                pod.used(),
                Reverse(pod.reported_at),
                &pod.pod,
            )
        });
        let mut budget = Budget::new(self);
        let holds = judged
            .into_iter()
            .map(|(pod, verdict)| (pod, self.holds_back(pod, &verdict, &mut budget)));
        let mut ranked: Vec<(&PodSlots, Option<Hold>)> = holds.collect();
        // Pods that may go come before pods that stay; both groups keep their order.
        ranked.sort_by_key(|(pod, hold)| (pod.phase == PodPhase::Ready, hold.is_some()));
        let first_held = ranked.iter().find(|(_, hold)| hold.is_some());
        let unready_stays = first_held.is_some_and(|(pod, _)| pod.phase != PodPhase::Ready);
        let mut held = Vec::new();
        for (pod, hold) in &ranked {
            let behind = unready_stays && pod.phase == PodPhase::Ready;
            let why = if behind { Some(Hold::Behind) } else { *hold };
            held.extend(why.map(|hold| HeldPod {
                pod: pod.pod.clone(),
                hold,
            }));
            free = free.saturating_add(u32::from(why.is_none()));
        }
        Release {
            replicas: free.saturating_sub(going),
            order: ranked.into_iter().map(|(pod, _)| pod).collect(),
            held,
        }
    }

    /// As [`Self::release`], for pods that are removed from the highest ordinal down: only the idle
    /// pods at the top may go, because no other order can be had.
    fn release_by_ordinal<'a>(
        &self,
        replicas: &Replicas,
        mut live: Vec<&'a PodSlots>,
    ) -> Release<'a> {
        live.sort_by_key(|pod| Reverse(ordinal(&pod.pod)));
        let idle = |pod: &&&PodSlots| matches!(self.verdict(pod), Verdict::Idle);
        let top = live.iter().take_while(idle).count();
        let held = live.iter().skip(top).enumerate().map(|(index, pod)| {
            let hold = match self.verdict(pod) {
                Verdict::Stays(hold @ (Hold::NotHeard | Hold::JustStarted)) if index == 0 => hold,
                _ if index == 0 => Hold::HighestBusy,
                _ => Hold::Below,
            };
            let pod = pod.pod.clone();
            HeldPod { pod, hold }
        });
        let held = held.collect();
        let count = |pods: usize| u32::try_from(pods).unwrap_or(u32::MAX);
        // A missing replica above the highest pod goes first. One below it, whose pod was deleted
        // or evicted, comes back: it goes only after the pods above it.
        let above_highest = live
            .first()
            .map_or(0, |pod| ordinal(&pod.pod).saturating_add(1));
        let missing = replicas.requested.saturating_sub(above_highest);
        let going = surplus_by_ordinal(replicas, self.first_ordinal, &live);
        Release {
            replicas: missing.saturating_add(count(top)).saturating_sub(going),
            order: live,
            held,
        }
    }

    /// Returns why a pod must stay, if it must. A pod that may drain takes its share of the budget.
    fn holds_back(&self, pod: &PodSlots, verdict: &Verdict, budget: &mut Budget) -> Option<Hold> {
        match verdict {
            Verdict::Idle => None,
            Verdict::MayGo { tasks, .. } => {
                let worker = |work| self.learner.pod(&pod.pod)?.work(work);
                let is_never_idle = Work::ALL
                    .into_iter()
                    .any(|work| worker(work).is_some_and(WorkerMemory::is_never_idle));
                (!budget.take(tasks, is_never_idle)).then_some(Hold::Unproven)
            }
            Verdict::Stays(hold) => Some(*hold),
        }
    }

    fn verdict(&self, pod: &PodSlots) -> Verdict {
        match pod.used() {
            None if is_blind(pod) => return Verdict::Stays(Hold::NotHeard),
            None | Some(0) if self.learner.is_unread(pod, self.now) => {
                return Verdict::Stays(Hold::JustStarted);
            }
            None | Some(0) => return Verdict::Idle,
            Some(_) => {}
        }
        let memory = self.learner.pod(&pod.pod);
        let mut tasks = PerWork::default();
        let mut oldest = Duration::ZERO;
        for work in Work::ALL {
            let used = work.slots(pod).map_or(0, |slots| slots.used);
            if used == 0 {
                continue;
            }
            *tasks.get_mut(work) = used;
            let worker = memory.and_then(|memory| memory.work(work));
            if let Some(hold) = self.hold(work, worker) {
                return Verdict::Stays(hold);
            }
            let idle_at = worker.and_then(WorkerMemory::idle_at);
            let age = idle_at.map_or(Duration::MAX, |idle_at| self.now.since(idle_at));
            oldest = oldest.max(age);
        }
        Verdict::MayGo { tasks, oldest }
    }

    fn hold(&self, work: Work, worker: Option<&WorkerMemory>) -> Option<Hold> {
        let learned = self.learner.learned(work);
        // Among many tasks, one takes several times the mean.
        let safe = self.grace.checked_div(10).unwrap_or(self.grace);
        if learned.longest(self.now) > self.grace {
            return Some(Hold::Outlasts);
        }
        let running = worker.and_then(|worker| worker.running(worker.seen_at()));
        if running.is_some_and(|running| running > learned.longest_ended(self.now)) {
            return Some(Hold::LongestYet);
        }
        let watched = self
            .learner
            .since()
            .is_some_and(|since| self.now.since(since) >= self.grace);
        match learned.mean() {
            Some(mean) if mean > safe => Some(Hold::Outlasts),
            Some(_) if watched => None,
            Some(_) | None => Some(Hold::NotLearned),
        }
    }
}

/// How many busy pods may drain at once.
struct Budget {
    /// Tasks that may still be drained, by kind.
    left: PerWork<u64>,
    /// Whether one busy pod may drain without proof.
    one: bool,
}

impl Budget {
    fn new(judge: &Judge<'_>) -> Self {
        let mut draining = PerWork::<u64>::default();
        let (mut busy, mut slow) = (false, false);
        for drain in judge.learner.pods().filter_map(|pod| pod.draining()) {
            for work in Work::ALL {
                let tasks = u64::from(*drain.tasks.get(work));
                let sum = draining.get_mut(work);
                *sum = sum.saturating_add(tasks);
                busy |= tasks > 0;
                let took = judge.now.since(drain.since);
                slow |= tasks > 0 && took.saturating_mul(2) > judge.grace;
            }
        }
        let mut left = PerWork::default();
        for work in Work::ALL {
            let proven = judge.learner.learned(work).drained(judge.now);
            let allowed = if slow { 0 } else { proven.saturating_mul(2) };
            *left.get_mut(work) = allowed.saturating_sub(*draining.get(work));
        }
        Self {
            left,
            one: !busy && judge.drains,
        }
    }

    /// Takes the tasks out of the budget and returns true if the pod may drain. Without proof, only
    /// one pod may, and only if waiting for it to be idle is futile.
    fn take(&mut self, tasks: &PerWork<u32>, is_never_idle: bool) -> bool {
        let wanted = |work: Work| u64::from(*tasks.get(work));
        let fits = Work::ALL
            .into_iter()
            .all(|work| wanted(work) <= *self.left.get(work));
        let first = is_never_idle && std::mem::take(&mut self.one);
        if fits || first {
            for work in Work::ALL {
                let left = self.left.get_mut(work);
                *left = left.saturating_sub(wanted(work));
            }
            self.one = false;
        }
        fits || first
    }
}
