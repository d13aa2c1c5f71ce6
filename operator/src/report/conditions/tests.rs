//! The conditions for each kind of trouble.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;
use taskqueue_api::{Reason, TaskQueueWorkerStatus};
use taskqueue_scaling::{PodPhase, Reading, UnknownReason};
use taskqueue_temporal::CallErrorKind;

use super::draft::ConditionDraft;
use crate::carry_over;
use crate::fleet_state::{FleetState, QueueKey};
use crate::not_ready::NotReady;
use crate::observe::drains::Draining;
use crate::report::testing::{Passed, healthy, unread};
use crate::testing::{NOW, backlog, existing, fleet, observed, simple, unseen};

mod rollout;
mod room;
mod unapplied;

impl Passed {
    /// Type, status and reason of every condition.
    fn conditions(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let words = |v: &ConditionDraft| (v.kind.as_str(), v.status.as_str(), v.reason.as_str());
        self.drafts().iter().map(words).collect()
    }
}

const LIMITED: (&str, &str, &str) = ("ScalingLimited", "False", "NotLimited");
const STILL: (&str, &str, &str) = ("Progressing", "False", "RolledOut");
const RECONCILED: (&str, &str, &str) = ("Reconciling", "False", "Reconciled");
const FREE: (&str, &str, &str) = ("Stalled", "False", "NotStalled");

/// A draining pod.
fn drains(pod: &str) -> Draining {
    Draining {
        pod: pod.to_owned(),
        grace: Duration::from_mins(1),
        ends: Timestamp::UNIX_EPOCH,
        shortened_to: None,
        hooked: false,
        end: None,
    }
}

/// A status in which generation 1 is healthy.
fn well() -> TaskQueueWorkerStatus {
    Passed::of(healthy()).status(&TaskQueueWorkerStatus::default(), 1)
}

fn find<'a>(status: &'a TaskQueueWorkerStatus, kind: &str) -> &'a Condition {
    let mut conditions = status.conditions.iter();
    conditions.find(|c| c.type_ == kind).unwrap()
}

/// Status, reason and generation of a condition.
fn condition(status: &TaskQueueWorkerStatus, kind: &str) -> (String, String, i64) {
    let found = find(status, kind);
    let about = found.observed_generation.unwrap();
    (found.status.clone(), found.reason.clone(), about)
}

fn is(status: &str, reason: &str, about: i64) -> (String, String, i64) {
    (status.to_owned(), reason.to_owned(), about)
}

#[test]
fn a_healthy_fleet_is_ready_and_scaled() {
    assert_eq!(
        Passed::of(healthy()).conditions(),
        [
            ("Ready", "True", "Available"),
            STILL,
            ("ScalingActive", "True", "Active"),
            LIMITED,
            RECONCILED,
            FREE
        ]
    );
}

#[test]
fn errors_of_temporal_change_scaling_active_and_not_ready() {
    let table = [
        (CallErrorKind::Unavailable, "Unknown", "TemporalUnavailable"),
        (CallErrorKind::Timeout, "Unknown", "TemporalUnavailable"),
        (CallErrorKind::Throttled, "Unknown", "BacklogUnknown"),
        (CallErrorKind::Denied, "False", "TemporalAccessDenied"),
        (
            CallErrorKind::NamespaceNotFound,
            "False",
            "TemporalNamespaceNotFound",
        ),
        (CallErrorKind::Unsupported, "Unknown", "BacklogUnknown"),
        (CallErrorKind::Failed, "Unknown", "BacklogUnknown"),
    ];
    for (kind, status, reason) in table {
        assert_eq!(
            Passed::of(unread(kind)).conditions(),
            [
                ("Ready", "True", "Available"),
                STILL,
                ("ScalingActive", status, reason),
                LIMITED,
                RECONCILED,
                FREE
            ],
            "{kind:?}"
        );
    }
}

#[test]
fn pods_that_cannot_start_make_a_fleet_unready_only_if_none_is_left() {
    let trouble = Some(NotReady::new(
        Reason::ImagePullFailed,
        "the image cannot be pulled",
    ));
    let mut none = healthy();
    none.pods.live[0].phase = PodPhase::Starting;
    let waiting = Passed::of(none.clone()).conditions();
    assert_eq!(waiting[0], ("Ready", "False", "WaitingForReplicas"));
    none.pods.trouble.clone_from(&trouble);
    let failed = Passed::of(none).conditions();
    assert_eq!(
        failed[..2],
        [
            ("Ready", "False", "ImagePullFailed"),
            ("Progressing", "False", "ImagePullFailed")
        ]
    );
    let mut rolling = healthy();
    rolling.pods.trouble = trouble;
    rolling.pods.replica_sets = 2;
    let stalled = Passed::of(rolling).conditions();
    assert_eq!(
        stalled[..2],
        [
            ("Ready", "True", "Available"),
            ("Progressing", "False", "RolloutStalled")
        ]
    );
}

#[test]
fn a_rollout_is_reported_as_progressing() {
    let mut rolling = healthy();
    rolling.pods.replica_sets = 2;
    assert_eq!(
        Passed::of(rolling).conditions()[1],
        ("Progressing", "True", "RollingOut")
    );
}

#[test]
fn a_held_queue_makes_both_conditions_false() {
    let mut rivalled = healthy();
    rivalled.rival = Some(simple().key);
    let conditions = Passed::of(rivalled).conditions();
    assert_eq!(conditions[0], ("Ready", "False", "QueueConflict"));
    assert_eq!(conditions[2], ("ScalingActive", "False", "QueueConflict"));
}

#[test]
fn modes_and_missing_signals_are_reported_by_rank() {
    let mode = |mode: &str| {
        let queues = json!([
            {"name": "a", "replicas": {"min": 1, "max": 5}, "scaling": {"mode": mode}}
        ]);
        Passed::over(fleet(&queues), healthy()).conditions()[2]
    };
    assert_eq!(mode("Paused"), ("ScalingActive", "False", "Paused"));
    assert_eq!(mode("DryRun"), ("ScalingActive", "False", "DryRun"));
    let mut mute = healthy();
    mute.slots = Reading::Unknown {
        reason: UnknownReason::NotSupported,
        since: NOW,
        failures: 1,
    };
    let mut mute = Passed::of(mute);
    assert_eq!(
        mute.conditions()[2],
        ("ScalingActive", "True", "Active"),
        "one such answer says little"
    );
    let queue = QueueKey::unversioned("a");
    let long_ago = NOW.minus(std::time::Duration::from_mins(3));
    mute.state.queue(queue).slots_unknown_since = Some(long_ago);
    assert_eq!(
        mute.conditions()[2],
        ("ScalingActive", "True", "SlotsUnknown")
    );
    let mut starting = healthy();
    starting.reading.backlog = unseen().reading.backlog;
    assert_eq!(
        Passed::of(starting).conditions()[2],
        ("ScalingActive", "Unknown", "Starting")
    );
    let short = fleet(&json!([
        {"name": "a", "replicas": {"min": 0, "max": 5}, "scaling": {"queueWaitTarget": "2s"}}
    ]));
    assert_eq!(
        Passed::over(short, healthy()).conditions()[2],
        ("ScalingActive", "True", "WaitTargetTooShort")
    );
}

#[test]
fn pods_missing_from_the_watch_are_reported_unless_they_are_only_late() {
    let fleet = simple();
    let mut seen = healthy();
    let mut deployment = existing(&fleet, 3, "9");
    deployment.status = Some(DeploymentStatus {
        replicas: Some(3),
        updated_replicas: Some(3),
        ready_replicas: Some(3),
        ..DeploymentStatus::default()
    });
    seen.existing = Some(Arc::new(deployment));
    let after = |seconds| {
        let (mut state, before) = (FleetState::default(), NOW.minus(seconds));
        let observed = observed(&fleet, seen.clone());
        carry_over::readings(&fleet, &observed, &mut state, before);
        Passed::after(state, fleet.clone(), seen.clone()).conditions()[2]
    };
    let second = std::time::Duration::from_secs;
    assert_eq!(after(second(9)), ("ScalingActive", "True", "Active"));
    assert_eq!(after(second(10)), ("ScalingActive", "True", "SlotsUnknown"));
}

#[test]
fn a_maximum_below_the_demand_is_a_limit() {
    let mut busy = unseen();
    busy.reading.backlog = backlog(100_000, NOW);
    assert_eq!(
        Passed::of(busy).conditions()[3],
        ("ScalingLimited", "True", "MaxReplicas")
    );
}

#[test]
fn unreadable_metrics_are_reported_with_the_port_and_the_remedy() {
    let mut mute = healthy();
    mute.slots = Reading::Unknown {
        reason: UnknownReason::ScrapeFailed,
        since: NOW,
        failures: 3,
    };
    mute.scraped = Some(crate::scrape::Scraped {
        slots: mute.slots.clone(),
        port: 9464,
        failure: Some(crate::scrape::Failure::Status),
        counts: BTreeMap::new(),
    });
    let mut passed = Passed::of(mute);
    let queue = QueueKey::unversioned("a");
    let long_ago = NOW.minus(std::time::Duration::from_mins(3));
    passed.state.queue(queue).slots_unknown_since = Some(long_ago);
    let drafts = passed.drafts();
    assert_eq!(
        (drafts[2].reason, drafts[2].message.as_str()),
        (
            Reason::SlotsUnknown,
            "queue a: the workers send no heartbeats, and no pod's metrics can be read at \
             metricsPort 9464, so scale-in is slower and never reaches zero: the HTTP status is \
             not 200; check the port"
        )
    );
}

#[test]
fn an_autoscaler_on_a_deployment_of_ours_is_named_unless_the_replicas_are_left_to_it() {
    let active = |mode: &str| {
        let fleet = fleet(&json!([
            {"name": "a", "replicas": {"min": 1, "max": 5}, "scaling": {"mode": mode}}
        ]));
        let mut queue = healthy();
        queue.scaled_by = Some("ScaledObject orders".to_owned());
        let passed = Passed::after(FleetState::default(), fleet, queue);
        let status = passed.status(&TaskQueueWorkerStatus::default(), 1);
        let active = find(&status, "ScalingActive").clone();
        (active.status, active.reason, active.message)
    };
    let (status, reason, message) = active("Active");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "ScalerConflict")
    );
    assert!(
        message.contains("ScaledObject orders also scales Deployment orders-a-"),
        "{message}"
    );
    assert_eq!(active("Paused").1, "Paused");
}
