//! How many replicas the work asks for, before any limit. Pure, integers only.
//!
//! Everything is in thousandths of a replica, rounded up, so that limits can tell 7.02 from 8.

use std::time::Duration;

use crate::history::RATE_WINDOW;
use crate::time::millis;
use crate::{History, Observation, PerType, Policy, Reason, Slots, TaskType, Time, TypeBacklog};
use crate::{PodPhase, PodSlots, Reading, ServiceTime, UnknownReason};

/// What the demand is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Term {
    /// Slots in use.
    InFlight,
    /// Arrivals and backlog.
    Drain,
    /// The age of the head of the backlog.
    Age,
    /// `backlogPerReplica`.
    BacklogPerReplica,
}

impl Term {
    /// The reason that a decision gives when this term binds.
    pub const fn reason(self) -> Reason {
        match self {
            Self::InFlight => Reason::SlotsInUse,
            Self::Drain => Reason::Drain,
            Self::Age => Reason::BacklogAge,
            Self::BacklogPerReplica => Reason::BacklogPerReplica,
        }
    }
}

/// The terms of one task type, each in thousandths of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DemandTerms {
    /// Slots in use, smoothed over 30 s, ÷ (slots per replica × target utilisation); at least slots
    /// in use now ÷ slots per replica; nothing while no slot is in use. A live pod that is not heard of
    /// counts as full: it earns itself one replica, but never asks for more pods than there are.
    pub in_flight_milli: u64,
    /// (arrival rate + backlog ÷ queue-wait target) × mean service time ÷ (slots per replica ×
    /// target utilisation); never more than a slot for every task that is there or comes within
    /// one target.
    pub drain_milli: u64,
    /// One step more than the replicas that earned the reading, if the head of the backlog is older
    /// than the target and every slot is taken; else 0.
    pub age_milli: u64,
    /// Backlog ÷ `backlogPerReplica`; 0 if that is not set.
    pub backlog_per_replica_milli: u64,
}

/// The demand of one task type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeDemand {
    /// The terms.
    pub terms: DemandTerms,
    /// The largest of them.
    pub milli: u64,
    /// Which one that is.
    pub binding: Term,
    /// Whether the queue's rate limit made it smaller.
    pub rate_limited: bool,
    /// Tasks wait that these workers do not take, although they have free slots: a version that is not
    /// current, or a type that nobody polls. More replicas would not take them either, so what waits asks
    /// for none.
    pub untaken: bool,
}

/// The demand of a queue: the largest over its task types, since one pod serves them all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Thousandths of a replica.
    pub milli: u64,
    /// The type and the term that ask for the most; `None` if nothing is asked for.
    pub binding: Option<(TaskType, Term)>,
    /// Whether a rate limit made it smaller.
    pub rate_limited: bool,
    /// Per counted type.
    pub types: PerType<Option<TypeDemand>>,
}

impl Demand {
    /// Whole replicas, rounded up.
    pub fn replicas(&self) -> u32 {
        u32::try_from(self.milli.div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

/// What is known about the slots in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Known now (or there are no pods, so that nothing is in use).
    Known,
    /// There is a signal, but not at the moment: nothing shrinks.
    Missing(UnknownReason),
    /// These workers or this server never tell: shrinking by stabilization only, and no zero.
    None,
}

/// The slots of the live pods, summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotFacts {
    pub(crate) signal: Signal,
    /// Slots in use per type, over live pods with a fresh heartbeat.
    pub(crate) used: PerType<u64>,
    /// Whether every slot of the type is taken (as far as is known).
    pub(crate) all_taken: PerType<bool>,
    /// Live pods without a fresh heartbeat.
    pub(crate) blind: u32,
    /// Live pods with a slot in use, blind ones included.
    pub(crate) busy: u32,
    /// Live pods that have a fresh heartbeat, and the blind ones.
    pub(crate) live: u32,
    /// Since when the heartbeats that the sum stands on were sent, all of them.
    pub(crate) oldest_report: Option<Time>,
}

impl SlotFacts {
    /// Whether it is known that no slot is in use.
    pub(crate) fn idle(&self) -> bool {
        self.signal == Signal::Known && self.busy == 0
    }
}

/// Sums the slots up, and says how far the sum can be believed.
pub(crate) fn slot_facts(observation: &Observation, history: &History) -> SlotFacts {
    let nothing = SlotFacts {
        signal: Signal::Known,
        used: PerType::default(),
        all_taken: PerType::from_fn(|_| false),
        blind: 0,
        busy: 0,
        live: 0,
        oldest_report: None,
    };
    if observation.replicas.is_zero() {
        return nothing;
    }
    if observation.replicas.unseen > 0 {
        return missing(UnknownReason::PodsUnseen, nothing);
    }
    match &observation.slots {
        // A worker list without any heartbeat, or a server that does not offer one: for a while it
        // may be a server that has just restarted, or a proxy before it; after that, these workers
        // are never heard of. The same with pods whose own metrics have never been read. Workers
        // that were heard of once are never taken for such.
        slots if history.mute() && slots.unknown().is_none_or(UnknownReason::is_silence) => {
            no_signal(nothing)
        }
        Reading::Unknown { reason, .. } => missing(*reason, nothing),
        Reading::Known { value, .. } => sum_slots(value, nothing),
    }
}

/// Where the slots are not known, every one of them counts as taken.
fn missing(reason: UnknownReason, nothing: SlotFacts) -> SlotFacts {
    SlotFacts {
        signal: Signal::Missing(reason),
        all_taken: PerType::from_fn(|_| true),
        ..nothing
    }
}

fn no_signal(nothing: SlotFacts) -> SlotFacts {
    SlotFacts {
        signal: Signal::None,
        all_taken: PerType::from_fn(|_| true),
        ..nothing
    }
}

fn sum_slots(slots: &Slots, mut facts: SlotFacts) -> SlotFacts {
    let mut free = PerType::<u64>::default();
    let mut unheard = false;
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
                unheard |= pod.reported_at.is_none();
            }
            continue;
        };
        facts.live = facts.live.saturating_add(1);
        let oldest = facts.oldest_report.into_iter();
        facts.oldest_report = oldest.chain(pod.reported_after).min();
        facts.busy = facts.busy.saturating_add(u32::from(used > 0));
        for task_type in TaskType::ALL {
            let Some(slots) = pod.types.get(task_type) else {
                continue;
            };
            let sum = facts.used.get_mut(task_type);
            *sum = sum.saturating_add(u64::from(slots.used));
            let sum = free.get_mut(task_type);
            *sum = sum.saturating_add(u64::from(slots.available.unwrap_or(0)));
        }
    }
    // A pod that has just become ready and was never heard of probably has free slots.
    facts.all_taken = PerType::from_fn(|task_type| {
        let full = *facts.used.get(task_type) > 0 || facts.blind > 0;
        full && *free.get(task_type) == 0 && !unheard
    });
    facts
}

/// A live pod that may be working although nothing is heard from it. One that has not become ready
/// and whose worker is not listed is still starting, and starting pods hold no tasks.
pub(crate) fn is_blind(pod: &PodSlots) -> bool {
    !pod.fresh
        && match pod.phase {
            PodPhase::Ready | PodPhase::Unready => true,
            PodPhase::Starting => pod.listed,
            PodPhase::Terminating => false,
        }
}

/// The demand of a queue whose statistics are known.
pub(crate) fn demand(
    policy: &Policy,
    types: &PerType<Option<TypeBacklog>>,
    facts: &SlotFacts,
    history: &History,
) -> Demand {
    let types = PerType::from_fn(|task_type| {
        types.get(task_type).map(|backlog| {
            let task = TaskFacts::new(policy, task_type, backlog, facts, history);
            task.demand(policy, history.ready_at_sample())
        })
    });
    let mut total = Demand {
        milli: 0,
        binding: None,
        rate_limited: false,
        types,
    };
    for (task_type, demand) in types.iter() {
        let Some(demand) = demand else { continue };
        if demand.milli > total.milli {
            total.milli = demand.milli;
            total.binding = Some((task_type, demand.binding));
            total.rate_limited = demand.rate_limited;
        }
    }
    total
}

/// One task type with everything its arithmetic needs, in plain integers.
struct TaskFacts {
    backlog: TypeBacklog,
    /// Arrivals in thousandths per second; 0 while the rates are not trusted.
    arrivals_milli: u128,
    service_millis: u128,
    slots: u128,
    /// Slots of a replica times the target utilisation, in hundredths of a slot.
    useful_slots_percent: u128,
    used: u128,
    /// The same, smoothed, in thousandths.
    used_milli: u128,
    /// Tasks that are in work: `used`, or every slot of the replicas that were ready where it is not known.
    in_work: u128,
    /// See [`TypeDemand::untaken`].
    untaken: bool,
    blind: u128,
    live: u128,
    all_taken: bool,
}

impl TaskFacts {
    fn new(
        policy: &Policy,
        task_type: TaskType,
        backlog: TypeBacklog,
        facts: &SlotFacts,
        history: &History,
    ) -> Self {
        let untaken = history.is_untaken(task_type);
        let backlog = if untaken {
            TypeBacklog {
                count: 0,
                age: Duration::ZERO,
                ..backlog
            }
        } else {
            backlog
        };
        let service: ServiceTime = history.service_time(task_type, policy);
        let slots = u128::from(history.slots_per_replica(task_type, policy));
        let utilization = u128::from(policy.target_utilization.clamp(1, 100));
        let arrivals = if history.rates_trusted() {
            believable_arrivals(&backlog)
        } else {
            0
        };
        let used = u128::from(*facts.used.get(task_type));
        let in_work = match facts.signal {
            Signal::Known => used,
            Signal::Missing(_) | Signal::None => {
                u128::from(history.ready_at_sample()).saturating_mul(slots)
            }
        };
        let smoothed = match facts.signal {
            Signal::Known => u128::from(history.used_milli(task_type)),
            Signal::Missing(_) | Signal::None => 0,
        };
        Self {
            backlog,
            arrivals_milli: u128::from(arrivals),
            service_millis: u128::from(millis(service.mean()).max(1)),
            useful_slots_percent: slots.saturating_mul(utilization).max(1),
            used,
            used_milli: smoothed,
            in_work,
            untaken,
            slots,
            blind: u128::from(facts.blind),
            live: u128::from(facts.live),
            all_taken: *facts.all_taken.get(task_type),
        }
    }

    fn demand(&self, policy: &Policy, earned: u32) -> TypeDemand {
        let target = u128::from(millis(policy.queue_wait_target).max(1));
        let count = u128::from(self.backlog.count);
        let limit = self
            .backlog
            .effective_limit_milli
            .map_or(u128::MAX, u128::from);

        let asked_rate = self
            .arrivals_milli
            .saturating_add(count.saturating_mul(1_000_000).div_ceil(target));
        let drain_slots = asked_rate
            .min(limit)
            .saturating_mul(self.service_millis)
            .div_ceil(1000);
        // A task never needs more than one slot: those in flight, those that wait, and those that
        // come within one target.
        let coming = self
            .arrivals_milli
            .min(limit)
            .saturating_mul(target)
            .div_ceil(1000);
        let tasks = self
            .in_work
            .saturating_add(count)
            .saturating_mul(1000)
            .saturating_add(coming);
        let drain = self.replicas_milli(drain_slots.min(tasks));
        let unlimited = self.replicas_milli(
            asked_rate
                .saturating_mul(self.service_millis)
                .div_ceil(1000)
                .min(tasks),
        );

        // The head room is for the mean; what is in use at this moment needs no more than itself,
        // or the room would be counted on top of every peak.
        // With nothing in use the mean is history: what still comes is in the arrivals.
        let mean = if self.used == 0 { 0 } else { self.used_milli };
        let heard = self.replicas_milli(mean).max(self.full_replicas_milli());
        let with_blind = heard.saturating_add(self.blind.saturating_mul(1000));
        let in_flight = with_blind.min(self.live.saturating_mul(1000)).max(heard);
        // What the limit can feed, or, where only the fact of limiting is known, what there is.
        let feeds = if self.backlog.rate_limited && limit == u128::MAX {
            u128::from(earned).saturating_mul(1000)
        } else {
            self.replicas_milli(limit.saturating_mul(self.service_millis).div_ceil(1000))
        };
        let age = self.age_step(policy.queue_wait_target, earned, tasks);
        let plain = policy.backlog_per_replica.map_or(0, |per| {
            count.saturating_mul(1000).div_ceil(u128::from(per.max(1)))
        });

        let terms = DemandTerms {
            in_flight_milli: narrow(in_flight),
            drain_milli: narrow(drain.min(feeds.max(1000))),
            age_milli: narrow(if self.backlog.rate_limited { 0 } else { age }),
            backlog_per_replica_milli: narrow(plain.min(feeds.max(1000))),
        };
        let wanted = unlimited
            .max(plain)
            .max(if self.backlog.rate_limited { age } else { 0 });
        let (milli, binding) = terms.largest();
        TypeDemand {
            terms,
            milli,
            binding,
            rate_limited: wanted > u128::from(milli),
            untaken: self.untaken,
        }
    }

    /// Thousandths of a replica that hold the tasks in flight and nothing else.
    fn full_replicas_milli(&self) -> u128 {
        self.used.saturating_mul(1_000).div_ceil(self.slots.max(1))
    }

    /// Thousandths of a replica for thousandths of a slot.
    fn replicas_milli(&self, slots_milli: u128) -> u128 {
        slots_milli
            .saturating_mul(100)
            .div_ceil(self.useful_slots_percent)
    }

    /// One step is a quarter more, at least one replica, and never more than the tasks can fill.
    fn age_step(&self, target: Duration, earned: u32, tasks_milli: u128) -> u128 {
        if self.backlog.count == 0 || self.backlog.age <= target || !self.all_taken {
            return 0;
        }
        let step = earned.div_ceil(4).max(1);
        let wanted = u128::from(earned.saturating_add(step)).saturating_mul(1000);
        let fill = self
            .replicas_milli(tasks_milli)
            .saturating_add(self.blind.saturating_mul(1000));
        wanted.min(fill)
    }
}

impl DemandTerms {
    /// The largest term; of equal ones the first in the order of the documentation.
    fn largest(&self) -> (u64, Term) {
        [
            (self.drain_milli, Term::Drain),
            (self.age_milli, Term::Age),
            (self.backlog_per_replica_milli, Term::BacklogPerReplica),
        ]
        .into_iter()
        .fold((self.in_flight_milli, Term::InFlight), |best, next| {
            if next.0 > best.0 { next } else { best }
        })
    }
}

/// A task that was added within the rates' window was dispatched within it or waits still. A rate that claims
/// more is that of a queue which the server has just loaded: it divides by the moment since.
fn believable_arrivals(backlog: &TypeBacklog) -> u64 {
    let window = millis(RATE_WINDOW).max(1);
    let waiting = u128::from(backlog.count).saturating_mul(1_000_000);
    let waiting = waiting.checked_div(window.into()).unwrap_or_default();
    let most = u128::from(backlog.dispatch_rate_milli).saturating_add(waiting);
    narrow(most.min(u128::from(backlog.add_rate_milli)))
}

fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
