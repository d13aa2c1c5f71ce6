//! How many replicas the work asks for, before any limit. Pure, integers only.
//!
//! The formula of docs/scaling.md: one function per term, in thousandths of a replica.

use std::time::Duration;

use crate::milli::Milli;
use crate::observation::{PerType, RATE_WINDOW, TaskType, TypeBacklog};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::slots::{Signal, SlotFacts};

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
    /// in use now ÷ slots per replica; nothing while no slot is in use. A live pod that is not
    /// heard of counts as full: it earns itself one replica, but never asks for more pods than
    /// there are.
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
    /// Tasks wait that these workers do not take, although they have free slots: a version that is
    /// not current, or a type that nobody polls. More replicas would not take them either, so what
    /// waits asks for none.
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

/// What earlier readings say about a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueFacts {
    /// The replicas that were ready when the last reading was taken: they earned it.
    pub(crate) earned: u32,
    /// Whether the server's rates can be used.
    pub(crate) rates_trusted: bool,
    pub(crate) types: PerType<TypeFacts>,
}

/// What earlier readings say about one task type of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TypeFacts {
    /// Slots of one replica, at least 1.
    pub(crate) slots_per_replica: u32,
    /// The mean service time.
    pub(crate) service_time: Duration,
    /// The mean of the slots in use.
    pub(crate) mean_used: Milli,
    /// See [`TypeDemand::untaken`].
    pub(crate) untaken: bool,
}

/// The demand of a queue whose statistics are known.
pub(crate) fn demand(
    policy: &Policy,
    types: &PerType<Option<TypeBacklog>>,
    slots: &SlotFacts,
    queue: &QueueFacts,
) -> Demand {
    let types = PerType::from_fn(|task_type| {
        let backlog = (*types.get(task_type))?;
        Some(Formula::new(policy, task_type, backlog, slots, queue).demand())
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

/// The formula for one task type. The letters are those of docs/scaling.md.
struct Formula {
    /// B: tasks that wait.
    backlog: Milli,
    /// a: how long the oldest of them has waited.
    age: Duration,
    /// λ: tasks that arrive per second; 0 while the rates are not trusted.
    arrivals: Milli,
    /// L: the queue's rate limit, if the server tells one.
    limit: Option<Milli>,
    /// Whether the server says that it limits.
    rate_limited: bool,
    /// u: slots in use now.
    used: Milli,
    /// ū: their mean; 0 where the slots are not known.
    mean_used: Milli,
    /// Tasks in work: u, or every slot of the replicas that earned the reading where the slots are
    /// not known.
    in_work: Milli,
    /// Whether every slot is taken.
    all_taken: bool,
    /// S: slots of a replica.
    slots: Milli,
    /// S × U: the slots of a replica that should be in use.
    useful_slots: Milli,
    /// s: mean service time.
    service_time: Duration,
    /// W: how long a task may wait.
    wait_target: Duration,
    /// `backlogPerReplica`.
    backlog_per_replica: Option<u32>,
    /// Live pods that are not heard of.
    blind: Milli,
    /// Live pods.
    live: Milli,
    /// Replicas that were ready when the reading was taken.
    earned: u32,
    /// See [`TypeDemand::untaken`].
    untaken: bool,
}

impl Formula {
    fn new(
        policy: &Policy,
        task_type: TaskType,
        backlog: TypeBacklog,
        slots: &SlotFacts,
        queue: &QueueFacts,
    ) -> Self {
        let learned = queue.types.get(task_type);
        let backlog = if learned.untaken {
            TypeBacklog {
                count: 0,
                age: Duration::ZERO,
                ..backlog
            }
        } else {
            backlog
        };
        let arrivals = if queue.rates_trusted {
            believable_arrivals(&backlog)
        } else {
            Milli::ZERO
        };
        let used = *slots.used.get(task_type);
        let all_slots = u64::from(queue.earned).saturating_mul(learned.slots_per_replica.into());
        let (in_work, mean_used) = match slots.signal {
            Signal::Known => (used, learned.mean_used),
            Signal::Missing(_) | Signal::None => (all_slots, Milli::ZERO),
        };
        let slots_per_replica = Milli::whole(learned.slots_per_replica);
        Self {
            backlog: Milli::whole(backlog.count),
            age: backlog.age,
            arrivals,
            limit: backlog.effective_limit_milli.map(Milli::from_thousandths),
            rate_limited: backlog.rate_limited,
            used: Milli::whole(used),
            mean_used,
            in_work: Milli::whole(in_work),
            all_taken: *slots.all_taken.get(task_type),
            slots: slots_per_replica,
            useful_slots: slots_per_replica.percent(policy.target_utilization.clamp(1, 100)),
            service_time: learned.service_time,
            wait_target: policy.queue_wait_target,
            backlog_per_replica: policy.backlog_per_replica,
            blind: Milli::whole(slots.blind),
            live: Milli::whole(slots.live),
            earned: queue.earned,
            untaken: learned.untaken,
        }
    }

    fn demand(&self) -> TypeDemand {
        let age = self.age();
        let plain = self.backlog_per_replica();
        let terms = DemandTerms {
            in_flight_milli: self.in_flight().thousandths(),
            drain_milli: self.fed(self.drain(self.limit)).thousandths(),
            age_milli: if self.rate_limited {
                0
            } else {
                age.thousandths()
            },
            backlog_per_replica_milli: self.fed(plain).thousandths(),
        };
        let (milli, binding) = terms.largest();
        let without_limit = self.drain(None).max(plain);
        let without_limit = if self.rate_limited {
            without_limit.max(age)
        } else {
            without_limit
        };
        TypeDemand {
            terms,
            milli,
            binding,
            rate_limited: without_limit > Milli::from_thousandths(milli),
            untaken: self.untaken,
        }
    }

    /// max( ū ÷ (S × U), u ÷ S ) + blind pods, but not more than there are live pods.
    ///
    /// The head room is for the mean; what is in use at this moment needs no more than itself, or
    /// the room would be counted on top of every peak. With nothing in use the mean is history:
    /// what still comes is in the arrivals.
    fn in_flight(&self) -> Milli {
        let mean = if self.used == Milli::ZERO {
            Milli::ZERO
        } else {
            self.mean_used
        };
        let heard = (mean / self.useful_slots).max(self.used / self.slots);
        (heard + self.blind).min(self.live).max(heard)
    }

    /// min( (λ + B ÷ W) × s, tasks ) ÷ (S × U), where no more tasks than `limit` are dispatched.
    fn drain(&self, limit: Option<Milli>) -> Milli {
        let rate = limited(self.arrivals + self.backlog / self.wait_target, limit);
        (rate * self.service_time).min(self.tasks()) / self.useful_slots
    }

    /// u + B + λ × W: a task never needs more than one slot, be it in flight, waiting, or coming
    /// within one target.
    fn tasks(&self) -> Milli {
        self.in_work + self.backlog + limited(self.arrivals, self.limit) * self.wait_target
    }

    /// earned + max(1, a quarter of earned), but never more than the tasks can fill.
    fn age(&self) -> Milli {
        if self.backlog == Milli::ZERO || self.age <= self.wait_target || !self.all_taken {
            return Milli::ZERO;
        }
        let step = self.earned.div_ceil(4).max(1);
        let filled = self.tasks() / self.useful_slots + self.blind;
        Milli::whole(self.earned.saturating_add(step)).min(filled)
    }

    /// B ÷ `backlogPerReplica`.
    fn backlog_per_replica(&self) -> Milli {
        self.backlog_per_replica
            .map_or(Milli::ZERO, |per| self.backlog / Milli::whole(per.max(1)))
    }

    /// At most the replicas that the rate limit can feed, L × s ÷ (S × U), or those that earned the
    /// reading where only the fact of limiting is known. Never less than one.
    fn fed(&self, replicas: Milli) -> Milli {
        let fed = match self.limit {
            Some(limit) => limit * self.service_time / self.useful_slots,
            None if self.rate_limited => Milli::whole(self.earned),
            None => return replicas,
        };
        replicas.min(fed.max(Milli::ONE))
    }
}

fn limited(rate: Milli, limit: Option<Milli>) -> Milli {
    limit.map_or(rate, |limit| rate.min(limit))
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

/// A task that was added within the rates' window was dispatched within it or waits still. A rate
/// that claims more is that of a queue which the server has just loaded: it divides by the moment
/// since.
fn believable_arrivals(backlog: &TypeBacklog) -> Milli {
    let dispatched = Milli::from_thousandths(backlog.dispatch_rate_milli);
    let waiting = Milli::whole(backlog.count).rate_rounded_down(RATE_WINDOW);
    Milli::from_thousandths(backlog.add_rate_milli).min(dispatched + waiting)
}
