//! The log lines about passes. Writes the log.

use kube::runtime::controller::{Action, Error as ControllerError};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use taskqueue_api::GuardedFleet;
use tracing::{debug, error, info, warn};

use crate::applied::Applied;
use crate::error::{Class, Error};
use crate::plan::Plan;

/// Logs one line per change that was carried out.
pub fn changes(plan: &Plan, applied: &Applied) {
    let fleet = format!("{}/{}", plan.fleet.namespace, plan.fleet.name);
    for queue in &plan.queues {
        let done = applied.queues.get(&queue.queue);
        if let (Some(decision), Some(scaled)) =
            (&queue.decision, done.and_then(|done| done.scaled.as_ref()))
        {
            info!(
                fleet,
                queue = queue.queue,
                deployment = queue.workload_name,
                from = scaled.from,
                to = scaled.to,
                reason = decision.reason.as_str(),
                "{}",
                decision.sentence()
            );
        } else if done.is_some_and(|done| done.written.is_some()) {
            info!(
                fleet,
                queue = queue.queue,
                deployment = queue.workload_name,
                "applied"
            );
        }
    }
    for error in applied.forgotten() {
        warn!(
            fleet,
            %error,
            "cannot keep the recurring load of a queue on its Deployment; trying again in an hour"
        );
    }
    for prune in &applied.pruned {
        info!(
            fleet,
            queue = prune.queue,
            deployment = prune.deployment_name,
            "deleted: its queue was removed from the spec"
        );
    }
}

/// Logs the outcome of a pass once, at a level chosen by error class.
pub fn outcome(
    result: Result<(ObjectRef<GuardedFleet>, Action), ControllerError<Error, watcher::Error>>,
) {
    match result {
        Ok((fleet, action)) => debug!(%fleet, ?action, "reconciled"),
        Err(ControllerError::ReconcilerFailed(error, fleet)) => {
            let (class, reason) = (error.class().as_str(), error.reason().as_str());
            match error.class() {
                Class::Conflict => debug!(%fleet, class, reason, %error, "conflict; retrying"),
                Class::Throttled => {
                    info!(%fleet, class, reason, %error, "throttled; retrying later");
                }
                Class::Invalid | Class::Dependency | Class::Unavailable => {
                    warn!(%fleet, class, reason, %error, "a reconcile failed");
                }
                Class::Denied | Class::Bug => {
                    error!(%fleet, class, reason, %error, "a reconcile failed");
                }
            }
        }
        Err(ControllerError::ObjectNotFound(fleet)) => debug!(%fleet, "the fleet is gone"),
        Err(other) => warn!(error = %other, "the controller failed"),
    }
}
