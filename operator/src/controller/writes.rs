//! The writing half of a pass: plan, apply, carry over. Also takes in writes that end late, and
//! plans again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use taskqueue_api::Fleet;
use taskqueue_temporal::OwnerKey;
use tracing::debug;

use super::context::Shared;
use crate::applied::{Applied, QueueApplied};
use crate::apply::Writer;
use crate::caches::keep_owners_of_replicas;
use crate::carry_over;
use crate::clock::Moment;
use crate::error::Error;
use crate::fleet_state::{FleetState, QueueKey};
use crate::observe::Observed;
use crate::owned::owned_by;
use crate::plan::{Plan, QueuePlan, Scale};
use crate::planner;

/// How long a pass waits for templates and budgets to be written.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);
/// How often a pass decides on an increase again if the Deployment was not as the caches showed it.
const ROUNDS: usize = 2;

/// Takes in the outcomes of the background writes that have ended since the last pass.
pub(super) async fn late(state: &mut FleetState, now: Moment) -> BTreeMap<String, QueueApplied> {
    let mut late = BTreeMap::new();
    for (key, state) in &mut state.queues {
        let over = state.writing.take_if(|writing| writing.task.is_finished());
        if let Some(writing) = over {
            let done = QueueApplied::of_task(writing.task.await);
            carry_over::settle(state, writing.rendered, &done, now);
            late.insert(key.queue.clone(), done);
        }
    }
    late
}

/// Reads those Deployments that this process wrote and the watch does not show: out of sight is not
/// gone.
pub(super) async fn look_for_unseen(
    writer: &Writer,
    fleet: &Fleet,
    observed: &mut Observed,
    state: &FleetState,
) {
    for queue in &fleet.queues {
        let known = state.queues.get(&QueueKey::unversioned(&queue.name));
        let left = known.is_some_and(|state| state.written.is_some());
        let seen = observed.queues.get_mut(&queue.name);
        let Some(seen) = seen.filter(|seen| left && seen.existing.is_none()) else {
            continue;
        };
        match writer.look(&fleet.key, &queue.workload_name).await {
            Ok(Some(found)) if owned_by(&found.metadata, &fleet.key) => {
                seen.existing = Some(as_kept(found));
            }
            Ok(Some(_)) => {}
            Ok(None) => seen.gone = true,
            Err(error) => debug!(%error, "cannot check whether a Deployment is gone"),
        }
    }
}

/// Reduces a Deployment that was read directly to what the cache would hold.
fn as_kept(mut found: Deployment) -> Arc<Deployment> {
    keep_owners_of_replicas(&mut found.metadata);
    Arc::new(found)
}

/// Plans, applies and carries over. If the API server refuses an increase that was decided on an
/// outdated Deployment, decides again.
pub(super) async fn plan_and_apply(
    shared: &Shared,
    fleet: &Fleet,
    observed: &mut Observed,
    state: &mut FleetState,
    now: Moment,
) -> (Plan, Applied) {
    let mut plan = self::plan(fleet, observed, state, now);
    let mut applied = write(shared, &plan).await;
    carry_over::writes(state, fleet, &plan, &mut applied, now);
    for _ in 0..ROUNDS {
        let outdated = outdated_growths(&plan, &applied);
        if outdated.is_empty() {
            break;
        }
        for (queue, deployment) in &outdated {
            let found = shared
                .writer
                .look(&fleet.key, deployment)
                .await
                .ok()
                .flatten();
            let found = found.filter(|found| owned_by(&found.metadata, &fleet.key));
            if let (Some(found), Some(seen)) = (found, observed.queues.get_mut(queue)) {
                seen.existing = Some(as_kept(found));
            }
        }
        let again = self::plan(fleet, observed, state, now);
        let again = planner::growth::only(again, |queue| outdated.contains_key(queue));
        if again.queues.is_empty() {
            break;
        }
        let mut second = write(shared, &again).await;
        carry_over::writes(state, fleet, &again, &mut second, now);
        replace(&mut plan, &mut applied, again, second);
    }
    (plan, applied)
}

fn plan(fleet: &Fleet, observed: &Observed, state: &mut FleetState, now: Moment) -> Plan {
    carry_over::renderings(fleet, observed, state);
    carry_over::readings(fleet, observed, state, now.monotonic);
    carry_over::recurring_loads(fleet, observed, state, now);
    let fleet = with_forecasts(fleet, state);
    planner::plan(&fleet, observed, state, now.monotonic)
}

/// The fleet with what the forecasts of its queues ask for now.
fn with_forecasts<'a>(fleet: &'a Fleet, state: &FleetState) -> Cow<'a, Fleet> {
    let mut fleet = Cow::Borrowed(fleet);
    for (key, state) in &state.queues {
        let Some(forecast) = state.recurring.forecast() else {
            continue;
        };
        let mut queues = fleet.to_mut().queues.iter_mut();
        if let Some(queue) = queues.find(|queue| queue.name == key.queue) {
            queue.policy.forecast = Some(forecast);
        }
    }
    fleet
}

async fn write(shared: &Shared, plan: &Plan) -> Applied {
    let requeue = shared.requeue.clone();
    let owner = OwnerKey {
        namespace: plan.fleet.namespace.clone(),
        name: plan.fleet.name.clone(),
    };
    let again = move || {
        if requeue.send(owner.clone()).is_err() {
            debug!("cannot requeue a fleet: the process is stopping");
        }
    };
    let applied = shared.writer.apply(plan, WRITE_TIMEOUT, again).await;
    let targets = plan.queues.iter().filter(|queue| queue.target.is_some());
    for queue in targets.filter(|queue| queue.scale.is_some()) {
        let namespace = &plan.fleet.namespace;
        shared.targets.forget(namespace, &queue.workload_name);
    }
    applied
}

/// The queues whose increase was refused because their Deployment has changed, with the
/// Deployment's name.
fn outdated_growths(plan: &Plan, applied: &Applied) -> BTreeMap<String, String> {
    let outdated = |queue: &&QueuePlan| {
        let grows = queue.scale.as_ref().is_some_and(Scale::grows);
        let done = applied.queues.get(&queue.queue);
        let outdated = done.is_some_and(|done| {
            done.scaled.is_none() && matches!(done.error, Some(Error::Stale { .. }))
        });
        // The next pass reads a target again.
        grows && outdated && queue.target.is_none()
    };
    let outdated = plan.queues.iter().filter(outdated);
    outdated
        .map(|queue| (queue.queue.clone(), queue.workload_name.clone()))
        .collect()
}

/// Replaces the plans and outcomes of the queues that were decided again.
fn replace(plan: &mut Plan, applied: &mut Applied, again: Plan, second: Applied) {
    for queue in again.queues {
        let before = plan
            .queues
            .iter_mut()
            .find(|before| before.queue == queue.queue);
        if let Some(before) = before {
            *before = queue;
        }
    }
    for (queue, done) in second.queues {
        applied.queues.insert(queue, done);
    }
}
