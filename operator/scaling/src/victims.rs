//! Which pods should go when a fleet shrinks. Pure.
//!
//! A Deployment does not know which of its pods are idle. Kubernetes removes pods that are not ready
//! first, and among ready ones those with the lowest `controller.kubernetes.io/pod-deletion-cost`; so
//! the least loaded ready pods get a negative cost, once, just before the replicas are lowered.

use std::cmp::Reverse;

use crate::demand::is_blind;
use crate::{PodPhase, PodSlots};

/// The deletion cost of a pod that goes and has no slot in use; each slot in use adds one, up to −1,
/// so that the pod goes before every pod without a cost of its own (0).
pub const IDLE_VICTIM_COST: i32 = -1_000_000;

/// The pods to mark before the replicas are lowered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Victims {
    /// The pods that should go, the first one first, each with its cost.
    pub remove: Vec<Victim>,
    /// The ready pods that stay. One that carries a negative cost from an earlier attempt must be
    /// set back to 0.
    pub keep: Vec<String>,
}

/// A pod that should go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// The pod's name.
    pub pod: String,
    /// Its `controller.kubernetes.io/pod-deletion-cost`.
    pub cost: i32,
    /// Its slots in use; `None` = not known, counted as full.
    pub used: Option<u32>,
}

/// Ranks the pods by slots in use, for a scale-in by `remove` replicas.
///
/// Pods that are not ready go before all others whatever their cost, so they count first. Pods that
/// already terminate do not count. Equal pods are ranked by name, so the answer is stable.
pub fn victims(pods: &[PodSlots], remove: u32) -> Victims {
    let (mut ready, mut not_ready) = (Vec::new(), 0_usize);
    for pod in pods {
        match pod.phase {
            PodPhase::Ready => ready.push(pod),
            PodPhase::Starting | PodPhase::Unready => not_ready = not_ready.saturating_add(1),
            PodPhase::Terminating => {}
        }
    }
    let remove = usize::try_from(remove)
        .unwrap_or(usize::MAX)
        .saturating_sub(not_ready);
    ready.sort_by_key(|pod| {
        (
            is_blind(pod),
            pod.used(),
            Reverse(pod.reported_at),
            &pod.pod,
        )
    });
    let victim = |pod: &&PodSlots| {
        let used = pod.used();
        let cost = used.map_or(-1, |used| {
            let used = i32::try_from(used).unwrap_or(i32::MAX);
            IDLE_VICTIM_COST.saturating_add(used).min(-2)
        });
        Victim {
            pod: pod.pod.clone(),
            cost,
            used,
        }
    };
    Victims {
        remove: ready.iter().take(remove).map(victim).collect(),
        keep: ready
            .iter()
            .skip(remove)
            .map(|pod| pod.pod.clone())
            .collect(),
    }
}
