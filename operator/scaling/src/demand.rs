//! How many replicas the work requires, before any limit. Pure, integers only.
//!
//! Implements the formula of docs/scaling/demand.md: one function per term, in thousandths of a
//! replica.

use std::time::Duration;

use crate::capacity::{self, PerReplica};
use crate::milli::Milli;
use crate::observation::{PerType, RATE_WINDOW, TaskType, TypeBacklog};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::slots::{Signal, SlotFacts};
use crate::target::Headroom;

/// The terms of the demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Term {
    /// Slots in use.
    InFlight,
    /// Arrivals and backlog.
    Drain,
    /// The age of the head of the backlog.
    Age,
    /// What a replica takes where its slots are not the bottleneck.
    Capacity,
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
            Self::Capacity => Reason::ReplicaCapacity,
            Self::BacklogPerReplica => Reason::BacklogPerReplica,
        }
    }
}

/// The terms of one task type, each in thousandths of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DemandTerms {
    /// max(slots in use, smoothed over 30 s, plus the reserve, slots in use now) ÷ slots per
    /// replica; 0 while no slot is in use. Each live pod without a fresh heartbeat counts as full:
    /// it adds one replica, up to the number of live pods.
    pub in_flight_milli: u64,
    /// The slots that clear arrivals and backlog in time, plus the reserve, ÷ slots per replica. At
    /// most one slot for every task that is in work, waits, or arrives within one wait target or
    /// one reaction time, whichever is shorter. More than the requested replicas only for tasks
    /// that will still wait when further ones are ready.
    pub drain_milli: u64,
    /// If the head of the backlog is older than the target, the slots count as taken, and more
    /// tasks wait than find a free one: the replicas that were ready at the reading plus one step,
    /// at most those that the tasks fill; otherwise 0.
    pub age_milli: u64,
    /// The tasks per second that clear arrivals and backlog in time, ÷ those that a replica takes,
    /// plus the reserve; 0 if that is unknown. At most the replicas that are requested or were
    /// ready since it is known, or twice as many once tasks are proven to wait although slots are
    /// free. At most the replicas beyond which the throughput did not rise.
    pub capacity_milli: u64,
    /// Backlog ÷ `backlogPerReplica`; 0 if that is not set.
    pub backlog_per_replica_milli: u64,
}

/// The demand of one task type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeDemand {
    /// The terms.
    pub terms: DemandTerms,
    /// The largest term.
    pub milli: u64,
    /// Which term is the largest.
    pub binding: Term,
    /// Whether the queue's rate limit reduced the demand.
    pub rate_limited: bool,
    /// These workers do not take the waiting tasks although they have free slots: their version is
    /// not current, or nobody polls for this type. More replicas would not take them either, so the
    /// backlog adds no demand.
    pub untaken: bool,
    /// More replicas have lately not raised the throughput, so the demand does not exceed those
    /// that did.
    pub in_vain: bool,
}

/// The demand of a queue: the largest over its task types, because one pod serves all types at
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Thousandths of a replica.
    pub milli: u64,
    /// The task type and the term with the largest demand; `None` if there is no demand.
    pub binding: Option<(TaskType, Term)>,
    /// Whether a rate limit reduced the demand.
    pub rate_limited: bool,
    /// See [`TypeDemand::in_vain`].
    pub in_vain: bool,
    /// The demand per counted type.
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
    /// The replicas that were ready when the last reading was taken: its numbers are the result of
    /// their work.
    pub(crate) earned: u32,
    /// Whether the server's rates can be trusted.
    pub(crate) rates_trusted: bool,
    /// The replicas that were requested when the last reading was taken.
    pub(crate) requested: u32,
    /// From the request for a pod to its readiness, if it has been measured.
    pub(crate) start_up: Option<Duration>,
    pub(crate) headroom: Headroom,
    /// How long the starting pods have been starting, each at most for the measured start-up,
    /// summed: within one start-up from now, each has so long for its work.
    pub(crate) started: Duration,
    pub(crate) types: PerType<TypeFacts>,
}

/// What earlier readings say about one task type of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TypeFacts {
    /// Slots of one replica, at least 1.
    pub(crate) slots_per_replica: u32,
    /// The mean service time.
    pub(crate) service_time: Duration,
    /// The mean number of slots in use.
    pub(crate) mean_used: Milli,
    /// The largest recent rise of the load within one reaction time, in slots.
    pub(crate) rise: Milli,
    /// What is known about the capacity of a replica.
    pub(crate) capacity: Option<PerReplica>,
    /// Whether slots that nobody knows may count as taken: workers have reported them before, or
    /// the throughput of the ready replicas can be judged instead.
    pub(crate) judged: bool,
    /// See [`TypeDemand::untaken`].
    pub(crate) untaken: bool,
}

/// Computes the demand of a queue whose statistics are known.
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
        in_vain: false,
        types,
    };
    for (task_type, demand) in types.iter() {
        let Some(demand) = demand else { continue };
        if demand.milli > total.milli {
            total.milli = demand.milli;
            total.binding = Some((task_type, demand.binding));
            total.rate_limited = demand.rate_limited;
            total.in_vain = demand.in_vain;
        }
    }
    total
}

/// The formula for one task type. The letters are those of docs/scaling/signals.md.
struct Formula {
    /// B: tasks that wait.
    backlog: Milli,
    /// a: how long the oldest of them has waited.
    age: Duration,
    /// λ: tasks that arrive per second; `None` while the rates are not trusted.
    arrivals: Option<Milli>,
    /// L: the queue's rate limit, if the server reports one.
    limit: Option<Milli>,
    /// Whether the server reports that rate limiting is active.
    rate_limited: bool,
    /// u: slots in use now.
    used: Milli,
    /// ū: the mean of u; 0 if the slots are unknown.
    mean_used: Milli,
    /// Tasks in work: u, or if the slots are unknown, every slot of the replicas that were ready at
    /// the reading.
    in_work: Milli,
    /// Whether the slots count as taken, apart from those of new pods.
    taken: bool,
    /// Slots that are free, or fill up now: those of live pods that have probably just become
    /// ready.
    free: Milli,
    /// S: slots per replica.
    slots: Milli,
    /// s: the mean service time.
    service_time: Duration,
    /// The slots for a burst like the largest recent one.
    burst: Milli,
    headroom: Headroom,
    /// W: how long a task may wait.
    wait_target: Duration,
    /// `backlogPerReplica`.
    backlog_per_replica: Option<u32>,
    /// Live pods without a fresh heartbeat.
    blind: Milli,
    /// Live pods.
    live: Milli,
    /// Replicas that were ready at the reading.
    earned: u32,
    /// Replicas that were requested at the reading.
    requested: Milli,
    /// d: from the request for a pod to its readiness; zero until it has been measured.
    start_up: Duration,
    /// See [`QueueFacts::started`].
    started: Duration,
    /// C: what a replica takes.
    capacity: Option<PerReplica>,
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
        let arrivals = queue.rates_trusted.then(|| believable_arrivals(&backlog));
        let used = *slots.used.get(task_type);
        let all_slots = u64::from(queue.earned).saturating_mul(learned.slots_per_replica.into());
        let (in_work, mean_used) = match slots.signal {
            Signal::Known => (used, learned.mean_used),
            Signal::Missing(_) | Signal::None => (all_slots, Milli::ZERO),
        };
        let slots_per_replica = Milli::whole(learned.slots_per_replica);
        let headroom = queue.headroom;
        Self {
            backlog: Milli::whole(backlog.count),
            age: backlog.age,
            arrivals,
            limit: binding_limit(&backlog),
            rate_limited: backlog.rate_limited,
            used: Milli::whole(used),
            mean_used,
            in_work: Milli::whole(in_work),
            taken: *slots.taken.get(task_type) && (slots.signal == Signal::Known || learned.judged),
            free: Milli::whole(*slots.free.get(task_type))
                + slots_per_replica * Milli::whole(slots.new),
            slots: slots_per_replica,
            service_time: learned.service_time,
            burst: headroom.burst(mean_used, learned.rise),
            headroom,
            wait_target: policy.queue_wait_target,
            backlog_per_replica: policy.backlog_per_replica,
            blind: Milli::whole(slots.blind),
            live: Milli::whole(slots.live),
            earned: queue.earned,
            requested: Milli::whole(queue.requested),
            start_up: queue.start_up.unwrap_or_default(),
            started: queue.started,
            capacity: learned.capacity,
            untaken: learned.untaken,
        }
    }

    /// λ, or 0 while it is unknown.
    fn arrivals(&self) -> Milli {
        self.arrivals.unwrap_or(Milli::ZERO)
    }

    fn demand(&self) -> TypeDemand {
        let age = self.age();
        let plain = self.backlog_per_replica();
        let capacity = self.capacity();
        let drain = self.drain(self.limit);
        let terms = DemandTerms {
            in_flight_milli: self.in_flight().thousandths(),
            drain_milli: self.fed(self.useful(drain)).thousandths(),
            age_milli: if self.rate_limited {
                0
            } else {
                self.useful(age).thousandths()
            },
            capacity_milli: self.useful(capacity).thousandths(),
            backlog_per_replica_milli: self.fed(self.useful(plain)).thousandths(),
        };
        let (milli, binding) = terms.largest();
        let without_limit = self.useful(self.drain(None).max(plain));
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
            in_vain: [drain, age, plain, capacity]
                .into_iter()
                .any(|replicas| replicas > self.useful(replicas)),
        }
    }

    /// The replicas that have this many slots in use, and the reserve of the arrivals free.
    fn replicas(&self, needed: Milli) -> Milli {
        let steady = limited(self.arrivals(), self.limit) * self.service_time;
        self.with_reserve(needed, steady.min(needed))
    }

    /// The replicas that have `needed` slots in use, and the reserve for `steady` of them free.
    /// While the server limits the rate, no burst can fill a reserve.
    fn with_reserve(&self, needed: Milli, steady: Milli) -> Milli {
        let steady = if self.rate_limited {
            Milli::ZERO
        } else {
            steady
        };
        self.headroom.replicas(needed, steady, self.slots)
    }

    /// max( (ū + reserve) ÷ S, burst ÷ S, u ÷ S ) + blind pods, but at most the number of live
    /// pods.
    ///
    /// The reserve applies to the mean. The slots in use at this moment need no reserve of their
    /// own: otherwise it would be added on top of every peak. If no slot is in use, the mean
    /// describes the past, and the arrival rate covers what still comes.
    fn in_flight(&self) -> Milli {
        let mean = if self.used == Milli::ZERO {
            Milli::ZERO
        } else {
            self.mean_used
        };
        let smoothed = self.with_reserve(mean, mean);
        let smoothed = self.headroom.with_burst(smoothed, self.slots, self.burst);
        let reporting = smoothed.max(self.used / self.slots);
        (reporting + self.blind).min(self.live).max(reporting)
    }

    /// p(H) × s with the reserve, or the burst if that is more, but at most what the tasks can
    /// fill; with the dispatch rate capped at `limit`. The fleet grows only if a further pod would
    /// still find tasks to clear.
    fn drain(&self, limit: Option<Milli>) -> Milli {
        let now = self.clears(self.backlog, limit);
        if now <= self.requested || self.start_up <= ALREADY_READ {
            return now;
        }
        now.min(self.requested.max(self.clears(self.later(), limit)))
    }

    fn clears(&self, backlog: Milli, limit: Option<Milli>) -> Milli {
        let rate = limited(self.rate(backlog, self.headroom.horizon), limit);
        let needed = (rate * self.service_time).min(self.tasks());
        let cleared = self.replicas(needed);
        let with_burst = self.headroom.with_burst(cleared, self.slots, self.burst);
        with_burst.min(self.replicas(self.tasks()))
    }

    /// p(H) = max( (λ × H + B) ÷ (H + slack), B ÷ H ): the tasks per second that clear arrivals and
    /// backlog in time. The slack is for what still comes.
    fn rate(&self, backlog: Milli, horizon: Duration) -> Milli {
        let lasting = horizon.saturating_add(self.headroom.slack);
        ((self.arrivals() * horizon + backlog) / lasting).max(backlog / horizon)
    }

    /// The backlog when a pod that is requested now becomes ready: what has come by then, less what
    /// the ready pods and those that are starting have done.
    fn later(&self) -> Milli {
        let ready = self.slots * self.start_up * Milli::whole(self.earned);
        let done = (ready + self.slots * self.started) / self.service_time;
        (self.backlog + self.arrivals() * self.start_up).less(done)
    }

    /// u + B + λ × min(W, R): a task never needs more than one slot, whether it is in flight,
    /// waiting, or arrives within one wait target. A pod for tasks that arrive after R can still be
    /// requested later.
    fn tasks(&self) -> Milli {
        let soon = self.wait_target.min(self.headroom.reaction);
        self.in_work + self.backlog + limited(self.arrivals(), self.limit) * soon
    }

    /// earned + max(a quarter of earned, at most 4 more), but at most what the tasks can fill: a
    /// small fleet doubles. Tasks that find a free slot need no other.
    fn age(&self) -> Milli {
        let waits_for_a_slot = self.taken && self.backlog > self.free;
        if !waits_for_a_slot || self.age <= self.wait_target {
            return Milli::ZERO;
        }
        let step = self.earned.div_ceil(4).max(self.earned.clamp(1, 4));
        let filled = self.tasks() / self.slots + self.blind;
        Milli::whole(self.earned.saturating_add(step)).min(filled)
    }

    /// p(H) ÷ C with the reserve, H at least a minute, as far as the capacity allows. No less than
    /// the requested replicas while λ is unknown. While the server limits the rate, no more than
    /// the replicas that are ready.
    fn capacity(&self) -> Milli {
        let Some(capacity) = self.capacity else {
            return Milli::ZERO;
        };
        let horizon = self.headroom.horizon.max(capacity::CLEAR_TIME);
        let rate = limited(self.rate(self.backlog, horizon), self.limit);
        let replicas = self.headroom.with_share(rate / capacity.rate);
        let replicas = if self.arrivals.is_some() {
            replicas
        } else {
            replicas.max(self.requested)
        };
        let most = if self.rate_limited {
            Milli::whole(self.earned)
        } else {
            capacity.most(self.requested, self.earned)
        };
        replicas.min(most)
    }

    /// Without the replicas beyond which the throughput did not rise.
    fn useful(&self, replicas: Milli) -> Milli {
        let ceiling = self.capacity.and_then(|capacity| capacity.ceiling());
        ceiling.map_or(replicas, |ceiling| replicas.min(ceiling))
    }

    /// B ÷ `backlogPerReplica`.
    fn backlog_per_replica(&self) -> Milli {
        self.backlog_per_replica
            .map_or(Milli::ZERO, |per| self.backlog / Milli::whole(per.max(1)))
    }

    /// Caps `replicas` at what the rate limit can feed, L × s with the reserve. If the server
    /// reports only that it limits, the cap is the replicas that were ready at the reading. Never
    /// less than one.
    fn fed(&self, replicas: Milli) -> Milli {
        let fed = match self.limit {
            Some(limit) => self.replicas(limit * self.service_time),
            None if self.rate_limited => Milli::whole(self.earned),
            None => return replicas,
        };
        replicas.min(fed.max(Milli::ONE))
    }
}

/// While a pod takes at most this long to start, each reading already shows the work of those that
/// the previous one called for.
const ALREADY_READ: Duration = Duration::from_secs(6);

/// The queue's rate limit. Fairness keys have limits of their own, which the server does not
/// report: if it limits well below the queue's own limit, that one is not what binds. A limit of
/// zero, which pauses the queue, counts as the least there is: the tasks still wait.
fn binding_limit(backlog: &TypeBacklog) -> Option<Milli> {
    let limit = backlog.effective_limit_milli?;
    let below = backlog.dispatch_rate_milli < limit.saturating_mul(9) / 10;
    (!(backlog.rate_limited && below)).then(|| Milli::from_thousandths(limit.max(1)))
}

fn limited(rate: Milli, limit: Option<Milli>) -> Milli {
    limit.map_or(rate, |limit| rate.min(limit))
}

impl DemandTerms {
    /// The largest term; among equal terms, the first in the order of the documentation.
    fn largest(&self) -> (u64, Term) {
        [
            (self.drain_milli, Term::Drain),
            (self.age_milli, Term::Age),
            (self.capacity_milli, Term::Capacity),
            (self.backlog_per_replica_milli, Term::BacklogPerReplica),
        ]
        .into_iter()
        .fold((self.in_flight_milli, Term::InFlight), |best, next| {
            if next.0 > best.0 { next } else { best }
        })
    }
}

/// A task that was added within the rate window has been dispatched within it or still waits. A
/// higher add rate means that the server has just loaded the queue and divides by the short time
/// since.
pub(crate) fn believable_arrivals(backlog: &TypeBacklog) -> Milli {
    let dispatched = Milli::from_thousandths(backlog.dispatch_rate_milli);
    let waiting = Milli::whole(backlog.count).rate_rounded_down(RATE_WINDOW);
    Milli::from_thousandths(backlog.add_rate_milli).min(dispatched + waiting)
}
