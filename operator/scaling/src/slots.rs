//! Sums the slots of the live pods, and tells how reliable the sum is. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::observation::{
    Observation, PerType, PodPhase, PodSlots, Reading, Slots, TaskType, TypeBacklog, UnknownReason,
};
use crate::time::Time;

/// Slots that have been unknown for this long count as taken, those of a queue and those of one
/// pod. A worker sends its first heartbeat, and a restarted server has all heartbeats again, within
/// a minute.
pub(crate) const UNKNOWN_TOO_LONG: Duration = Duration::from_mins(2);

/// Slots count as taken while at most one in this many is free: between two short tasks, a slot is
/// free for a moment.
const TAKEN_IF_ONE_FREE_IN: u64 = 4;

/// What is known about the slots in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Known now (or there are no pods, so nothing is in use).
    Known,
    /// Temporarily unknown: nothing shrinks.
    Missing(UnknownReason),
    /// These workers or this server never report slots: the fleet shrinks only by stabilization,
    /// and never to zero.
    None,
}

/// The slots of the live pods, summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotFacts {
    pub(crate) signal: Signal,
    /// Slots in use per type, over live pods with a fresh heartbeat.
    pub(crate) used: PerType<u64>,
    /// Whether the slots of the type count as taken, apart from those of new pods: hardly one is
    /// free, or they are unknown (see [`LastSlots`]).
    pub(crate) taken: PerType<bool>,
    /// Free slots per type, over live pods with a fresh heartbeat.
    pub(crate) free: PerType<u64>,
    /// Live pods that have not reported yet and have probably just become ready: their slots are
    /// free or fill up now.
    pub(crate) new: u32,
    /// Live pods without a fresh heartbeat.
    pub(crate) blind: u32,
    /// Live pods with a slot in use, including the blind ones.
    pub(crate) busy: u32,
    /// Live pods with a fresh heartbeat, plus the blind ones.
    pub(crate) live: u32,
    /// A time after which all heartbeats in the sum were sent.
    pub(crate) oldest_report: Option<Time>,
    /// For how long the pod that was silent the longest had sent no heartbeat when the slots were
    /// read.
    pub(crate) silence: Duration,
}

impl SlotFacts {
    /// Whether it is certain that no slot is in use.
    pub(crate) fn idle(&self) -> bool {
        self.signal == Signal::Known && self.busy == 0
    }
}

/// What is left to judge slots by while they are unknown. They cannot simply count as taken:
/// whenever two watches are out of step, or new pods have not reported yet, an old backlog would
/// ask for more pods although others have free slots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LastSlots {
    /// Whether every slot of a type was taken when the slots were last known; `None` = no live
    /// worker had reported any.
    all_taken: Option<PerType<bool>>,
    /// Since when the slots have been unknown.
    unknown_since: Option<Time>,
    /// The live pods that have never reported, and since when each is known.
    silent_since: BTreeMap<String, Time>,
}

impl LastSlots {
    /// Records what an observation says.
    pub(crate) fn observe(&mut self, observation: &Observation, facts: &SlotFacts, now: Time) {
        if let Some(slots) = observation.slots.known() {
            let silent = slots.pods.iter().filter(|pod| is_silent(pod));
            let silent = silent.map(|pod| {
                let since = self.silent_since.get(&pod.pod).copied();
                (pod.pod.clone(), since.unwrap_or(now))
            });
            self.silent_since = silent.collect();
        }
        if facts.signal == Signal::Known {
            let taken = PerType::from_fn(|task_type| *facts.taken.get(task_type) && facts.new == 0);
            self.all_taken = (facts.live > facts.blind).then_some(taken);
            self.unknown_since = None;
        } else {
            self.unknown_since.get_or_insert(now);
        }
    }

    /// Whether every unknown slot of a type counts as taken: as when the slots were last known, or
    /// if they never were, if workers take tasks at all. After a while they do in any case, because
    /// workers whose slots are full of long tasks take none.
    fn count_as_taken(&self, task_type: TaskType, backlog: &TypeBacklog, now: Time) -> bool {
        let unknown_for = now.since(self.unknown_since.unwrap_or(now));
        let were_taken = self.all_taken.as_ref().map_or_else(
            || backlog.dispatch_rate_milli > 0,
            |taken| *taken.get(task_type),
        );
        were_taken || unknown_for >= UNKNOWN_TOO_LONG
    }

    /// Whether a pod that has never reported has probably just become ready.
    fn is_new(&self, pod: &str, now: Time) -> bool {
        let since = self.silent_since.get(pod).copied().unwrap_or(now);
        now.since(since) < UNKNOWN_TOO_LONG
    }
}

/// Sums the slots, and tells how reliable the sum is.
///
/// `mute`: the workers are assumed never to send heartbeats.
pub(crate) fn slot_facts(
    observation: &Observation,
    mute: bool,
    last: &LastSlots,
    now: Time,
) -> SlotFacts {
    let nothing = SlotFacts {
        signal: Signal::Known,
        used: PerType::default(),
        taken: PerType::from_fn(|_| false),
        free: PerType::default(),
        new: 0,
        blind: 0,
        busy: 0,
        live: 0,
        oldest_report: None,
        silence: Duration::ZERO,
    };
    if observation.replicas.is_zero() {
        return nothing;
    }
    let backlog = observation.backlog.known().map(|backlog| &backlog.types);
    let unknown = |signal| SlotFacts {
        signal,
        taken: PerType::from_fn(|task_type| {
            let backlog = backlog.and_then(|types| types.get(task_type).as_ref());
            backlog.is_some_and(|backlog| last.count_as_taken(task_type, backlog, now))
        }),
        ..nothing
    };
    if observation.replicas.unseen > 0 {
        return unknown(Signal::Missing(UnknownReason::PodsUnseen));
    }
    match &observation.slots {
        // The worker list has no heartbeats, or the server does not offer the list. For a while the
        // cause may be a restarted server or a proxy in front of it; after that, these workers are
        // assumed never to report. The same holds for pods whose metrics have never been read, and,
        // after longer, for workers that have reported once.
        slots if mute && slots.unknown().is_none_or(UnknownReason::is_silence) => {
            unknown(Signal::None)
        }
        Reading::Unknown { reason, .. } => unknown(Signal::Missing(*reason)),
        Reading::Known { value, taken_at } => sum_slots(value, *taken_at, nothing, last, now),
    }
}

fn sum_slots(
    slots: &Slots,
    taken_at: Time,
    mut facts: SlotFacts,
    last: &LastSlots,
    now: Time,
) -> SlotFacts {
    for pod in slots
        .pods
        .iter()
        .filter(|pod| pod.phase != PodPhase::Terminating)
    {
        let Some(used) = pod.used() else {
            if is_blind(pod) {
                facts.blind = facts.blind.saturating_add(1);
                facts.busy = facts.busy.saturating_add(1);
                facts.live = facts.live.saturating_add(1);
                let new = is_silent(pod) && last.is_new(&pod.pod, now);
                facts.new = facts.new.saturating_add(u32::from(new));
            }
            continue;
        };
        facts.live = facts.live.saturating_add(1);
        let oldest = facts.oldest_report.into_iter();
        facts.oldest_report = oldest.chain(pod.reported_after).min();
        let silence = pod
            .reported_at
            .map_or(Duration::ZERO, |at| taken_at.since(at));
        facts.silence = facts.silence.max(silence);
        facts.busy = facts.busy.saturating_add(u32::from(used > 0));
        for task_type in TaskType::ALL {
            let Some(slots) = pod.types.get(task_type) else {
                continue;
            };
            let sum = facts.used.get_mut(task_type);
            *sum = sum.saturating_add(u64::from(slots.used));
            let sum = facts.free.get_mut(task_type);
            *sum = sum.saturating_add(u64::from(slots.available.unwrap_or(0)));
        }
    }
    facts.taken = PerType::from_fn(|task_type| {
        let (used, free) = (*facts.used.get(task_type), *facts.free.get(task_type));
        (used > 0 || facts.blind > 0) && are_taken(used, free)
    });
    facts
}

/// Whether slots count as taken because hardly one is free.
pub(crate) const fn are_taken(used: u64, free: u64) -> bool {
    free.saturating_mul(TAKEN_IF_ONE_FREE_IN) <= used.saturating_add(free)
}

/// A blind pod that has never reported.
fn is_silent(pod: &PodSlots) -> bool {
    is_blind(pod) && pod.reported_at.is_none()
}

/// A live pod that may be working although it does not report. A pod that has never been ready and
/// whose worker is not listed is still starting, and starting pods hold no tasks.
pub(crate) fn is_blind(pod: &PodSlots) -> bool {
    !pod.fresh
        && match pod.phase {
            PodPhase::Ready | PodPhase::Unready => true,
            PodPhase::Starting | PodPhase::Pending => pod.listed,
            PodPhase::Terminating => false,
        }
}
