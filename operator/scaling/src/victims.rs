//! Which pods should go when a fleet shrinks. Pure.
//!
//! A Deployment does not know which of its pods are idle. Kubernetes removes pods that are not
//! ready first, and among equal ones those with the lowest
//! `controller.kubernetes.io/pod-deletion-cost`. So the pods that may go get a negative cost, once,
//! just before the replicas are lowered.

use crate::history::History;
use crate::observation::{Observation, PodPhase, PodSlots};
use crate::policy::Policy;
use crate::release::{Judge, surplus};
use crate::time::Time;

/// The deletion cost of the pod that goes first. Each following pod costs one more, up to −1, so
/// all of them go before any pod without a cost of its own (0).
pub const FIRST_VICTIM_COST: i32 = -1_000_000;

/// The pods to mark before the replicas are lowered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Victims {
    /// The pods that should go, in order of removal, each with its cost.
    pub remove: Vec<Victim>,
    /// The pods that stay. A negative cost from an earlier attempt must be reset to 0.
    pub keep: Vec<String>,
}

/// A pod that should go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// The pod's name.
    pub pod: String,
    /// Its `controller.kubernetes.io/pod-deletion-cost`.
    pub cost: i32,
    /// Its slots in use; `None` = unknown, counts as full.
    pub used: Option<u32>,
}

/// Ranks the pods for a scale-in by `remove` pods: idle pods first, then pods that may drain, then
/// pods that should stay. `history` must have seen the observation.
///
/// Pods that are not ready go before all others whatever their cost; the cost ranks them among
/// themselves. Terminating pods do not count. Equal pods are ranked by name, so the result is
/// stable.
pub fn victims(
    policy: &Policy,
    observation: &Observation,
    history: &History,
    remove: u32,
    now: Time,
) -> Victims {
    let Some(slots) = observation.slots.known() else {
        return Victims::default();
    };
    let judge = Judge {
        learner: history.learner(),
        grace: policy.drain_grace_period,
        now,
        drains: true,
        first_ordinal: history.first_ordinal(now),
    };
    let order = judge.release(&observation.replicas, &slots.pods).order;
    // Pods that Kubernetes has yet to remove for an earlier decision keep their place at the front.
    let going = surplus(&observation.replicas, order.len());
    let remove = usize::try_from(remove.saturating_add(going)).unwrap_or(usize::MAX);
    let not_ready = |pod: &&PodSlots| pod.phase != PodPhase::Ready;
    // If all pods that are not ready go, none of them needs a rank.
    let unranked = order.iter().take_while(|pod| not_ready(pod)).count();
    let unranked = if unranked <= remove { unranked } else { 0 };
    let mut cost = FIRST_VICTIM_COST;
    let victim = |pod: &&PodSlots| {
        let victim = Victim {
            pod: pod.pod.clone(),
            cost,
            used: pod.used(),
        };
        cost = cost.saturating_add(1).min(-1);
        victim
    };
    let (go, stay) = order.split_at(remove.min(order.len()));
    Victims {
        remove: go.iter().skip(unranked).map(victim).collect(),
        keep: stay.iter().map(|pod| pod.pod.clone()).collect(),
    }
}
