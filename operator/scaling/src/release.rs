//! Which pods may be told to stop: those on which nothing runs, and those whose tasks are known to end within
//! the drain grace period. Where that is not known, the pod stays. Pure.
//!
//! Each pod is judged by itself, from its own heartbeats; what is known of the queue's tasks is the measure:
//! - no slot in use: the pod may go;
//! - tasks of this kind are known to run longer than the grace period: it stays;
//! - a task there has run for longer than any that was seen to end: how much longer it will is not known, so
//!   it stays;
//! - too little was seen of how long tasks take, or the workers were not watched for one grace period yet
//!   (after a restart, say): it stays;
//! - otherwise nothing speaks against it, and yet a task that outlasts the grace period may hide among short
//!   ones, since counts do not tell which task has ended. So idle pods are waited for. Where that would be in
//!   vain, because many short tasks keep every pod busy and the fleet is twice as large as it has to be, one busy
//!   pod drains. What drains have proven to end in good time allows more: twice as many tasks at once.

use std::cmp::Reverse;
use std::time::Duration;

use crate::learn::{Learner, PerWork, Work};
use crate::observation::{PodPhase, PodSlots, Replicas};
use crate::slots::is_blind;
use crate::time::Time;
use crate::worker::WorkerMemory;

/// Why a pod may not be told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// Nothing fresh is heard of it: what runs there is not known.
    NotHeard,
    /// Tasks like those that run there are known to run longer than the grace period.
    Outlasts,
    /// A task there has run for longer than any that was seen to end.
    LongestYet,
    /// Too little was seen to tell how long its tasks take.
    NotLearned,
    /// Nothing speaks against it, but no drain has proven yet that such tasks end in good time.
    Unproven,
    /// A pod goes before it that must stay: one that is busy and not ready, which Kubernetes removes first.
    Behind,
}

impl Hold {
    /// Every reason, for metrics and tables in the docs.
    pub const ALL: [Self; 6] = [
        Self::NotHeard,
        Self::Outlasts,
        Self::LongestYet,
        Self::NotLearned,
        Self::Unproven,
        Self::Behind,
    ];

    /// The reason in one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotHeard => "NotHeard",
            Self::Outlasts => "Outlasts",
            Self::LongestYet => "LongestYet",
            Self::NotLearned => "NotLearned",
            Self::Unproven => "Unproven",
            Self::Behind => "Behind",
        }
    }

    /// The reason as half a sentence about the pod.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NotHeard => "sends no fresh heartbeat, so what runs there is not known",
            Self::Outlasts => "runs tasks of a kind that outlasts the drain grace period",
            Self::LongestYet => "runs a task that has taken longer than any that was seen to end",
            Self::NotLearned => "is busy, and too little was seen yet of how long its tasks take",
            Self::Unproven => {
                "is busy, and it is not proven yet that such tasks end within the drain grace period"
            }
            Self::Behind => {
                "is behind a busy pod that is not ready, which Kubernetes removes first"
            }
        }
    }
}

/// A pod that may not be told to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPod {
    /// The pod's name.
    pub pod: String,
    /// Why it stays.
    pub hold: Hold,
}

/// Whether a pod may be told to stop, as far as it is judged by itself.
enum Verdict {
    /// Nothing runs on it.
    Idle,
    /// Nothing speaks against it. Its tasks by kind, and how long the oldest of them can have run.
    MayGo {
        tasks: PerWork<u32>,
        oldest: Duration,
    },
    Stays(Hold),
}

/// The pods in the order in which they are to go, and how many may.
pub(crate) struct Release<'a> {
    /// How many of the replicas that are asked for may go.
    pub(crate) replicas: u32,
    /// The live pods that can be ranked, the first to go first. Kubernetes keeps to it among pods that are
    /// ready, and among those that are not.
    pub(crate) order: Vec<&'a PodSlots>,
    /// The pods that may not go.
    pub(crate) held: Vec<HeldPod>,
}

/// Live pods beyond the replicas that are asked for: Kubernetes has yet to remove them, and they are not
/// there to be removed twice.
pub(crate) fn surplus(replicas: &Replicas, live: usize) -> u32 {
    u32::try_from(live)
        .unwrap_or(u32::MAX)
        .saturating_sub(replicas.asked)
}

/// What one queue's pods may be judged by.
pub(crate) struct Judge<'a> {
    pub(crate) learner: &'a Learner,
    pub(crate) grace: Duration,
    pub(crate) now: Time,
    /// Whether the fleet is so much larger than it has to be that a busy pod may go before anything is proven.
    pub(crate) drains: bool,
}

impl Judge<'_> {
    /// Ranks the pods and says how many replicas may go: the longest prefix of Kubernetes' own order in which
    /// no pod has to stay.
    pub(crate) fn release<'a>(&self, replicas: &Replicas, pods: &'a [PodSlots]) -> Release<'a> {
        let live: Vec<&PodSlots> = pods
            .iter()
            .filter(|pod| pod.phase != PodPhase::Terminating)
            .collect();
        let count = |pods: usize| u32::try_from(pods).unwrap_or(u32::MAX);
        // Replicas that were asked for and never made go by themselves.
        let mut free = replicas.asked.saturating_sub(count(live.len()));
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
        // Those that may go do so before those that stay; both keep their order.
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

    /// Why a pod must stay, if it must; one that may drain takes its share of the budget.
    fn holds_back(&self, pod: &PodSlots, verdict: &Verdict, budget: &mut Budget) -> Option<Hold> {
        match verdict {
            Verdict::Idle => None,
            Verdict::MayGo { tasks, .. } => {
                let worker = |work| self.learner.pod(&pod.pod)?.work(work);
                let waits_in_vain = Work::ALL
                    .into_iter()
                    .any(|work| worker(work).is_some_and(WorkerMemory::is_never_idle));
                (!budget.take(tasks, waits_in_vain)).then_some(Hold::Unproven)
            }
            Verdict::Stays(hold) => Some(*hold),
        }
    }

    fn verdict(&self, pod: &PodSlots) -> Verdict {
        match pod.used() {
            None if is_blind(pod) => return Verdict::Stays(Hold::NotHeard),
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
        // Of many tasks one takes several times the mean.
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
    /// Tasks that may yet be told to end, by kind.
    left: PerWork<u64>,
    /// One busy pod may drain though nothing is proven.
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

    /// The first busy pod that drains, before anything is proven, is one that would be waited for in vain.
    fn take(&mut self, tasks: &PerWork<u32>, waits_in_vain: bool) -> bool {
        let wanted = |work: Work| u64::from(*tasks.get(work));
        let fits = Work::ALL
            .into_iter()
            .all(|work| wanted(work) <= *self.left.get(work));
        let first = waits_in_vain && std::mem::take(&mut self.one);
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
