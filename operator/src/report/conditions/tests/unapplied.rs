//! The conditions of a generation that is not applied.

use std::time::Duration;

use taskqueue_kubernetes::kube_error::Call;
use taskqueue_scaling::Time;

use super::*;
use crate::applied::End;
use crate::error::Error;
use crate::fleet_state::Unapplied;
use crate::observe::ObservedQueue;
use crate::plan::Step;
use crate::report::conditions::blocked::{KEPT, until_reported};

/// The error of an apply of the Deployment that is answered with this status.
fn answered(code: u16, message: &str) -> Error {
    let status = kube::core::Status::failure(message, "").with_code(code);
    Error::kube(
        Call::new("apply", "Deployment", "shop", "d"),
        kube::Error::Api(status.boxed()),
    )
}

const WEBHOOK_DOWN: &str =
    "Internal error occurred: failed calling webhook \"x.test\": failed to call webhook: refused";

/// Transient errors, and the reason that each is reported with if it lasts.
fn passing() -> [(Error, &'static str); 7] {
    let (namespace, name) = ("shop".to_owned(), "d".to_owned());
    [
        (answered(429, "slow down"), "Throttled"),
        (answered(500, "etcd is away"), "ApiServerUnavailable"),
        (answered(503, ""), "ApiServerUnavailable"),
        (answered(500, WEBHOOK_DOWN), "WebhookUnavailable"),
        (answered(404, "not found"), "Conflict"),
        (answered(409, "modified"), "Conflict"),
        (Error::Stale { namespace, name }, "Conflict"),
    ]
}

/// Errors that somebody must fix.
fn lasting() -> [(Error, &'static str); 8] {
    let denied = "admission webhook \"x.test\" denied the request: no";
    let right = "deployments.apps \"d\" is forbidden: User \"op\" cannot patch resource";
    let (namespace, name) = ("shop".to_owned(), "d".to_owned());
    let kind = "Deployment";
    [
        (answered(400, denied), "ApplyFailed"),
        (answered(409, denied), "ApplyFailed"),
        (answered(429, denied), "ApplyFailed"),
        (answered(422, "bad"), "ApplyFailed"),
        (answered(403, "exceeded quota"), "ApplyFailed"),
        (answered(403, right), "Forbidden"),
        (
            Error::NameConflict {
                kind,
                namespace,
                name,
            },
            "NameConflict",
        ),
        (Error::Bug("no".to_owned()), "InternalError"),
    ]
}

/// The record of writes that have failed since `since`.
pub(super) fn failing(since: Time, transient: bool) -> Unapplied {
    Unapplied {
        since,
        transient,
        why: NotReady::new(Reason::Throttled, "not now"),
    }
}

#[test]
fn a_new_fleet_that_could_not_be_written_is_not_ready_whatever_the_error() {
    let never = TaskQueueWorkerStatus::default();
    let nothing_there = || Passed::of(unseen());
    for (error, reason) in passing() {
        let text = error.to_string();
        let status = nothing_there().failed(error).status(&never, 1);
        assert_eq!(
            condition(&status, "Ready"),
            is("False", reason, 1),
            "{text}"
        );
        assert_eq!(
            condition(&status, "Progressing"),
            is("False", reason, 1),
            "{text}"
        );
        assert_eq!(
            condition(&status, "Reconciling"),
            is("True", reason, 1),
            "{text}"
        );
        assert_eq!(
            condition(&status, "Stalled"),
            is("False", "NotStalled", 1),
            "{text}"
        );
    }
    for (error, reason) in lasting() {
        let text = error.to_string();
        let status = nothing_there().failed(error).status(&never, 1);
        for kind in ["Ready", "Progressing", "Reconciling"] {
            assert_eq!(
                condition(&status, kind),
                is("False", reason, 1),
                "{kind}: {text}"
            );
        }
        assert_eq!(
            condition(&status, "Stalled"),
            is("True", reason, 1),
            "{text}"
        );
    }
    // Not ready without an error, either: nothing shows that the Deployment exists.
    let status = nothing_there().status(&never, 1);
    assert_eq!(
        condition(&status, "Ready"),
        is("False", "WaitingForReplicas", 1)
    );
}

#[test]
fn transient_errors_keep_the_conditions_of_the_previous_generation_for_a_minute() {
    for (error, reason) in passing() {
        let text = error.to_string();
        let mut passed = Passed::of(healthy()).failed(error);
        let mut after = |seconds, generation| {
            let since = NOW.minus(Duration::from_secs(seconds));
            let state = passed.state.queue(QueueKey::unversioned("a"));
            state.unapplied = Some(failing(since, true));
            passed.status(&well(), generation)
        };
        for seconds in [0, 59] {
            let status = after(seconds, 2);
            assert_eq!(status.observed_generation, Some(2));
            assert_eq!(find(&status, "Ready"), find(&well(), "Ready"), "{text}");
            assert_eq!(find(&status, "Progressing"), find(&well(), "Progressing"));
            assert_eq!(
                condition(&status, "Reconciling"),
                is("True", reason, 2),
                "{text}"
            );
            // For the same generation as before, no condition changes at all.
            let same = after(seconds, 1);
            assert_eq!(same.conditions, well().conditions, "{text}");
        }
        let status = after(60, 2);
        assert_eq!(
            condition(&status, "Ready"),
            is("False", reason, 2),
            "{text}"
        );
        assert_eq!(
            condition(&status, "Progressing"),
            is("False", reason, 2),
            "{text}"
        );
        assert_eq!(
            condition(&status, "Reconciling"),
            is("True", reason, 2),
            "{text}"
        );
        assert_eq!(condition(&status, "Stalled"), is("False", "NotStalled", 2));
    }
}

#[test]
fn a_refused_write_that_is_not_retried_yet_counts_like_its_error() {
    let mut passed = Passed::of(healthy());
    let why = NotReady::new(Reason::WebhookUnavailable, "no");
    passed.plan.queues[0].step = Step::Refused(why);
    let mut ready = |transient, seconds| {
        let state = passed.state.queue(QueueKey::unversioned("a"));
        let since = NOW.minus(Duration::from_secs(seconds));
        state.unapplied = Some(failing(since, transient));
        condition(&passed.status(&well(), 2), "Ready")
    };
    assert_eq!(ready(true, 59), is("True", "Available", 1));
    assert_eq!(ready(true, 60), is("False", "WebhookUnavailable", 2));
    assert_eq!(ready(false, 0), is("False", "WebhookUnavailable", 2));
}

#[test]
fn without_a_remembered_error_the_reason_tells_whether_it_is_transient() {
    for (error, reason) in passing() {
        let mut passed = Passed::of(healthy());
        passed.plan.queues[0].step = Step::Refused((&error).into());
        let status = passed.status(&well(), 2);
        assert_eq!(
            condition(&status, "Ready"),
            is("True", "Available", 1),
            "{error}"
        );
        assert_eq!(
            condition(&status, "Reconciling"),
            is("True", reason, 2),
            "{error}"
        );
    }
    for (error, reason) in lasting() {
        let mut passed = Passed::of(healthy());
        passed.plan.queues[0].step = Step::Refused((&error).into());
        let status = passed.status(&well(), 2);
        assert_eq!(
            condition(&status, "Ready"),
            is("False", reason, 2),
            "{error}"
        );
    }
}

/// A pass over `queue` in which a write was sent, and one in which it is still in flight.
fn under_way(queue: &ObservedQueue) -> [Passed; 2] {
    let mut begun = Passed::of(queue.clone());
    begun.applied.queues.get_mut("a").unwrap().end = End::Pending;
    let mut pending = Passed::of(queue.clone());
    pending.plan.queues[0].step = Step::Pending;
    [begun, pending]
}

#[test]
fn a_write_without_an_answer_is_not_applied() {
    for mut passed in under_way(&healthy()) {
        let status = passed.status(&well(), 2);
        assert_eq!(condition(&status, "Ready"), is("True", "Available", 1));
        assert_eq!(
            condition(&status, "Progressing"),
            is("False", "RolledOut", 1)
        );
        let reconciling = is("True", "ApiServerUnavailable", 2);
        assert_eq!(condition(&status, "Reconciling"), reconciling);
        let standing = passed.facts()[0].carry_over(NOW).unapplied.unwrap();
        assert_eq!((standing.since, standing.transient), (NOW, true));
        // Earlier trouble counts, with its time, until the write is answered.
        for (seconds, transient, ready) in [
            (59, true, is("True", "Available", 1)),
            (60, true, is("False", "Throttled", 2)),
            (0, false, is("False", "Throttled", 2)),
        ] {
            let before = failing(NOW.minus(Duration::from_secs(seconds)), transient);
            let state = passed.state.queue(QueueKey::unversioned("a"));
            state.unapplied = Some(before.clone());
            assert_eq!(condition(&passed.status(&well(), 2), "Ready"), ready);
            assert_eq!(passed.facts()[0].carry_over(NOW).unapplied, Some(before));
        }
        // An error of another write in the same pass takes precedence.
        let failed = passed.failed(answered(422, "bad"));
        assert_eq!(
            condition(&failed.status(&well(), 2), "Ready").1,
            "ApplyFailed"
        );
    }
}

#[test]
fn a_deployment_that_is_being_created_is_awaited_without_an_error() {
    for passed in under_way(&unseen()) {
        let status = passed.status(&TaskQueueWorkerStatus::default(), 1);
        assert_eq!(
            condition(&status, "Ready"),
            is("False", "WaitingForReplicas", 1)
        );
        let reconciling = is("True", "WaitingForReplicas", 1);
        assert_eq!(condition(&status, "Reconciling"), reconciling);
        assert_eq!(condition(&status, "Stalled"), is("False", "NotStalled", 1));
    }
}

#[test]
fn the_minute_begins_with_the_first_error_and_ends_with_a_success() {
    let queue = || QueueKey::unversioned("a");
    let since = |passed: &Passed| passed.facts()[0].carry_over(NOW).unapplied.map(|u| u.since);
    let mut passed = Passed::of(healthy()).failed(answered(503, ""));
    assert_eq!(since(&passed), Some(NOW));
    let earlier = NOW.minus(Duration::from_secs(30));
    passed.state.queue(queue()).unapplied = Some(failing(earlier, true));
    assert_eq!(
        since(&passed),
        Some(earlier),
        "another error goes on counting"
    );
    passed.applied.queues.get_mut("a").unwrap().error = None;
    assert_eq!(since(&passed), None);
    passed.plan.queues[0].step = Step::Refused(NotReady::new(Reason::ApplyFailed, "no"));
    assert_eq!(since(&passed), Some(earlier), "nothing was tried");
}

#[test]
fn a_reconcile_is_due_when_the_minute_is_over() {
    let mut state = FleetState::default();
    assert_eq!(until_reported(&state, NOW), Duration::MAX);
    let earlier = NOW.minus(Duration::from_secs(42));
    state.queue(QueueKey::unversioned("a")).unapplied = Some(failing(earlier, true));
    assert_eq!(until_reported(&state, NOW), Duration::from_secs(18));
    state.unpruned = Some(NOW.minus(Duration::from_secs(50)));
    assert_eq!(until_reported(&state, NOW), Duration::from_secs(10));
    assert_eq!(
        until_reported(&state, earlier.plus(KEPT)),
        Duration::MAX,
        "it has been reported"
    );
}

#[test]
fn a_deployment_that_cannot_be_deleted_is_reported_at_once_or_after_a_minute() {
    let mut passed = Passed::of(healthy());
    passed.applied.prune_errors = vec![answered(503, "")];
    assert_eq!(
        condition(&passed.status(&well(), 2), "Ready"),
        is("True", "Available", 1)
    );
    passed.state.unpruned = Some(NOW.minus(KEPT));
    let after = passed.status(&well(), 2);
    assert_eq!(
        condition(&after, "Ready"),
        is("False", "ApiServerUnavailable", 2)
    );
    passed.state.unpruned = None;
    passed.applied.prune_errors = vec![answered(405, "")];
    let after = passed.status(&well(), 2);
    assert_eq!(condition(&after, "Ready"), is("False", "InternalError", 2));
}
