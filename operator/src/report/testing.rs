//! A whole pass without its writes, for the tests of reports. No I/O except through what a test
//! passes in.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use taskqueue_scaling::PodPhase;
use taskqueue_temporal::{CallErrorKind, LivePod, Method};

use super::*;
use crate::applied::QueueApplied;
use crate::carry_over;
use crate::observe::ObservedQueue;
use crate::observe::pods::Pods;
use crate::planner;
use crate::testing::{NOW, backlog, existing, observed, simple, unseen};

/// The time of every pass.
fn now() -> Moment {
    Moment {
        monotonic: NOW,
        wall: "2026-02-03T04:05:06Z".parse::<Timestamp>().unwrap(),
    }
}

/// A pass over a fleet whose only queue is `a`.
pub(crate) struct Passed {
    pub(crate) fleet: Fleet,
    pub(crate) observed: Observed,
    pub(crate) plan: Plan,
    pub(crate) applied: Applied,
    pub(crate) state: FleetState,
}

impl Passed {
    /// The first pass over the simplest fleet.
    pub(crate) fn of(queue: ObservedQueue) -> Self {
        Self::over(simple(), queue)
    }

    /// The first pass over a fleet.
    pub(crate) fn over(fleet: Fleet, queue: ObservedQueue) -> Self {
        Self::after(FleetState::default(), fleet, queue)
    }

    /// A pass after earlier ones that left `state`.
    pub(crate) fn after(mut state: FleetState, fleet: Fleet, queue: ObservedQueue) -> Self {
        let observed = observed(&fleet, queue);
        carry_over::readings(&fleet, &observed, &mut state, NOW);
        let plan = planner::plan(&fleet, &observed, &state, NOW);
        let mut applied = Applied::default();
        applied
            .queues
            .insert("a".to_owned(), QueueApplied::default());
        Self {
            fleet,
            observed,
            plan,
            applied,
            state,
        }
    }

    /// The same pass, if writing the queue fails with `error`.
    pub(crate) fn failed(mut self, error: Error) -> Self {
        self.applied.queues.get_mut("a").unwrap().error = Some(error);
        self
    }

    pub(crate) fn facts(&self) -> Vec<QueueFacts<'_>> {
        QueueFacts::collect(
            &self.fleet,
            &self.observed,
            &self.plan,
            &self.applied,
            &self.state,
        )
    }

    pub(crate) fn drafts(&self) -> Vec<ConditionDraft> {
        let unpruned = Unpruned {
            errors: &self.applied.prune_errors,
            since: self.state.unpruned,
        };
        conditions::conditions(&self.facts(), &unpruned, &Thresholds::default(), NOW)
    }

    /// The status after the pass.
    pub(crate) fn status(
        &self,
        old: &TaskQueueWorkerStatus,
        generation: i64,
    ) -> TaskQueueWorkerStatus {
        let (facts, drafts) = (self.facts(), self.drafts());
        status::status(old, generation, &facts, &drafts, now().wall)
    }

    /// The metrics after the pass.
    pub(crate) fn numbers(&self) -> FleetNumbers {
        fleet_metrics::numbers(&self.facts(), &TaskQueueWorkerStatus::default(), now())
    }

    pub(crate) async fn report(
        &mut self,
        reports: &Reports,
        subject: &Subject<'_>,
    ) -> Result<(), Error> {
        let pass = Pass {
            fleet: &self.fleet,
            observed: &self.observed,
            plan: &self.plan,
            applied: &self.applied,
        };
        let report = reports.pass(subject, &pass, &self.state, now()).await;
        carry_over::report(&mut self.state, &pass, report, now())
    }
}

/// A queue with one ready pod and nothing to do.
pub(crate) fn healthy() -> ObservedQueue {
    let mut queue = unseen();
    queue.existing = Some(Arc::new(existing(&simple(), 1, "9")));
    let pod = LivePod {
        name: "p".to_owned(),
        phase: PodPhase::Ready,
    };
    queue.pods = Pods {
        live: vec![pod],
        replica_sets: 1,
        ..Pods::default()
    };
    queue.reading.backlog = backlog(0, NOW);
    queue
}

/// A healthy queue whose backlog cannot be read, with an error of this kind.
pub(crate) fn unread(kind: CallErrorKind) -> ObservedQueue {
    let mut queue = healthy();
    queue.reading.backlog = taskqueue_scaling::Reading::Unknown {
        reason: kind.unknown_reason(),
        since: NOW,
        failures: 1,
    };
    queue.reading.backlog_failure = Some(taskqueue_temporal::CallFailure {
        kind,
        method: Method::DescribeTaskQueue,
        message: "DescribeTaskQueue failed".to_owned(),
        fault: None,
    });
    queue
}

/// A status with one condition.
pub(crate) fn status_with(kind: &str, status: &str, reason: &str) -> TaskQueueWorkerStatus {
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: "a message".to_owned(),
        observed_generation: Some(1),
        last_transition_time: Time(now().wall),
    };
    TaskQueueWorkerStatus {
        conditions: vec![condition],
        ..TaskQueueWorkerStatus::default()
    }
}
