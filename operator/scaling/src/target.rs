//! What the queue-wait target allows: how many slots stay free, how long a backlog may last, and
//! how long replicas are kept after their work has gone. Pure, integers only.
//!
//! The rule in one sentence: tasks may wait for the target, so a fleet needs free slots only for
//! what comes faster than new pods can. A utilization that the user sets replaces the rule.

use std::time::Duration;

use crate::milli::Milli;
use crate::policy::Policy;

/// Free slots, if new pods help exactly when the target has passed. They are proportional to R ÷ W:
/// the longer the target, the fewer. This and the other constants of the rule were chosen on the
/// loads of docs/contest.md, and then tried on others.
///
/// The number does not grow with the load. Where n tasks run on average and arrive evenly, the
/// chance of a wait beyond t falls with e^(−f × t ÷ s), f free slots and a mean service time of s,
/// whatever n is (Erlang's delay formula: the tail of the wait in an M/M/c queue).
const RESERVE_SLOTS: u32 = 4;
/// R ÷ W counts up to this in the reserve: an even load varies no more over a longer time. A load
/// that does has bursts.
const MAX_REACTION_TARGETS: u32 = 6;
/// The replicas in reserve where the tasks that vary are not counted, in percent of those needed,
/// if new pods help exactly when the target has passed.
const SHARE_PERCENT: u32 = 8;
/// The most replicas in reserve there.
const MAX_SHARE_PERCENT: u32 = 33;
/// The most slots for a burst, in percent of those in use: once hardly any work is left, a large
/// burst of the past keeps no large fleet.
const MAX_BURST_PERCENT: u32 = 2000;
/// The longer R is, the further the next rise may exceed the largest so far: that one counts once
/// more for each of this time in R.
const RISE_AGAIN: Duration = Duration::from_mins(1);
/// The most that counts in addition to a rise, in percent of it.
const MAX_RISE_AGAIN_PERCENT: u32 = 200;
/// The shortest time in which a backlog is cleared, unless the target itself is shorter.
const MIN_CLEAR_TIME: Duration = Duration::from_secs(10);
/// The start-up that is assumed until a pod has been seen to start.
pub(crate) const ASSUMED_START_UP: Duration = Duration::from_secs(5);
/// How long replicas are kept if the target leaves time to start others.
const SHORT_HOLD: Duration = Duration::from_secs(20);

/// What the queue-wait target of one queue allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Headroom {
    /// R: from a rise of the load to the first task on a pod that it calls for.
    pub(crate) reaction: Duration,
    /// H: within this time the backlog is cleared.
    pub(crate) horizon: Duration,
    /// How long a backlog may last: the fleet need not follow the arrivals at once.
    pub(crate) slack: Duration,
    /// The user's utilization in percent, if set.
    utilization: Option<u32>,
    wait_target: Duration,
    half_target: Duration,
    /// N: for how many reaction times the load has lately been watched.
    watched: Milli,
}

impl Headroom {
    /// `start_up` is the time from the request for a pod to its readiness. Without a user's
    /// utilization, the target leaves slack if that time has been measured. `watched` is how long
    /// the rises of the load have lately been watched.
    pub(crate) fn new(
        policy: &Policy,
        start_up: Duration,
        measured: bool,
        watched: Duration,
    ) -> Self {
        let target = policy.queue_wait_target;
        let reaction = policy.polling_interval.saturating_add(start_up);
        let utilization = policy
            .target_utilization
            .map(|percent| percent.clamp(1, 100));
        let half = target.checked_div(2).unwrap_or_default();
        let may_lag = utilization.is_none() && measured;
        Self {
            reaction,
            horizon: target
                .saturating_sub(reaction)
                .max(MIN_CLEAR_TIME)
                .min(target),
            slack: if may_lag {
                half.saturating_sub(reaction)
            } else {
                Duration::ZERO
            },
            utilization,
            wait_target: target,
            half_target: half,
            watched: Milli::ONE * watched / reaction,
        }
    }

    /// Replicas of `slots` slots that have `needed` in use, and free ones for the next moment: the
    /// share that the user has set, or else the reserve for a load that keeps `steady` slots in
    /// use.
    pub(crate) fn replicas(&self, needed: Milli, steady: Milli, slots: Milli) -> Milli {
        match self.utilization {
            Some(percent) => needed / slots.percent(percent),
            None => (needed + self.reserve(steady)) / slots,
        }
    }

    /// The same where only the replicas that are needed are known, by their capacity or by a
    /// forecast: 8 % × R ÷ W of them are in reserve, at most a third.
    pub(crate) fn with_share(&self, needed: Milli) -> Milli {
        if let Some(percent) = self.utilization {
            return needed / Milli::ONE.percent(percent);
        }
        let share = needed.percent(SHARE_PERCENT) * self.reaction / self.wait_target;
        needed + share.min(needed.percent(MAX_SHARE_PERCENT))
    }

    /// If any are needed, at least the replicas for the next burst, unless the user has set a
    /// share.
    pub(crate) fn with_burst(&self, replicas: Milli, slots: Milli, burst: Milli) -> Milli {
        if self.utilization.is_some() || replicas == Milli::ZERO {
            replicas
        } else {
            replicas.max(burst / slots)
        }
    }

    /// 4 × R ÷ W slots, or n × R ÷ W for a load that keeps fewer slots n in use. R ÷ W is at most
    /// 6.
    fn reserve(&self, steady: Milli) -> Milli {
        let targets = Milli::ONE * self.reaction / self.wait_target;
        steady.min(Milli::whole(RESERVE_SLOTS)) * targets.min(Milli::whole(MAX_REACTION_TARGETS))
    }

    /// The slots for a burst like the largest recent one: what comes within one reaction time R may
    /// take R + W ÷ 2, because tasks may wait; the rest of the target absorbs uneven arrivals. At
    /// most 20 times the slots in use.
    ///
    /// The next rise may be larger: the largest counts 1 + R ÷ 1 min times, at most three. Of the
    /// times beyond the first, 1 ÷ (1 + N) is left, because the last of N + 1 similar rises is
    /// the largest with that probability.
    pub(crate) fn burst(&self, mean_used: Milli, rise: Milli) -> Milli {
        let again = (rise * self.reaction / RISE_AGAIN).min(rise.percent(MAX_RISE_AGAIN_PERCENT));
        let again = again / (Milli::ONE + self.watched);
        let load = (mean_used + rise + again) * self.reaction;
        let slots = load / self.reaction.saturating_add(self.half_target);
        slots.min(mean_used.percent(MAX_BURST_PERCENT))
    }

    /// How long replicas are kept after their work has gone: the user's window, or less if new
    /// ones would come in time.
    pub(crate) fn hold(&self, window: Duration) -> Duration {
        let in_time = self.wait_target >= self.reaction.saturating_mul(2);
        if self.utilization.is_none() && in_time {
            window.min(SHORT_HOLD)
        } else {
            window
        }
    }
}
