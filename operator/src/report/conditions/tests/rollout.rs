//! The conditions of a generation that is not rolled out yet, and of a queue that wakes from zero.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};

use super::*;
use crate::applied::{Scaled, Written};
use crate::observe::ObservedQueue;
use crate::plan::Step;
use crate::report::conditions::blocked::KEPT;

/// A queue whose Deployment was changed by `change`, with one pod of the earlier template.
fn deployed(change: impl FnOnce(&mut Deployment)) -> ObservedQueue {
    let mut queue = healthy();
    let mut deployment = existing(&simple(), 1, "9");
    deployment.metadata.generation = Some(4);
    deployment.status = Some(DeploymentStatus {
        observed_generation: Some(4),
        replicas: Some(1),
        updated_replicas: Some(1),
        ready_replicas: Some(1),
        ..DeploymentStatus::default()
    });
    change(&mut deployment);
    queue.existing = Some(Arc::new(deployment));
    queue
}

/// The record of a write that left the Deployment at `generation`.
fn wrote(generation: i64) -> Written {
    let mut after = existing(&simple(), 1, "10");
    after.metadata.generation = Some(generation);
    Written::after_apply(&after, &after)
}

#[test]
fn a_rollout_lasts_from_the_write_until_every_pod_is_replaced() {
    let status = |queue: ObservedQueue, written: Option<Written>| {
        let mut passed = Passed::of(queue);
        passed.applied.queues.get_mut("a").unwrap().written = written;
        passed.status(&well(), 2)
    };
    let mut replacing = deployed(|d| d.status.as_mut().unwrap().updated_replicas = Some(0));
    let table = [
        (deployed(|_| ()), Some(wrote(5)), "written in this pass"),
        (replacing.clone(), None, "no new pod yet"),
        (
            {
                replacing.pods.replica_sets = 2;
                replacing
            },
            None,
            "old and new pods",
        ),
    ];
    for (queue, written, when) in table {
        let status = status(queue, written);
        assert_eq!(
            condition(&status, "Ready"),
            is("True", "Available", 1),
            "{when}"
        );
        assert_eq!(
            condition(&status, "Progressing"),
            is("True", "RollingOut", 2),
            "{when}"
        );
        assert_eq!(
            condition(&status, "Reconciling"),
            is("True", "RollingOut", 2),
            "{when}"
        );
    }
    // An apply that changed nothing starts no rollout.
    for written in [None, Some(wrote(4))] {
        let status = status(deployed(|_| ()), written);
        assert_eq!(condition(&status, "Ready"), is("True", "Available", 2));
        assert_eq!(
            condition(&status, "Progressing"),
            is("False", "RolledOut", 2)
        );
        assert_eq!(
            condition(&status, "Reconciling"),
            is("False", "Reconciled", 2)
        );
    }
}

#[test]
fn an_earlier_write_counts_until_the_deployment_controller_has_seen_it() {
    let reconciling = |observed| {
        let mut passed = Passed::of(deployed(|d| {
            d.status.as_mut().unwrap().observed_generation = observed;
        }));
        let state = passed.state.queue(QueueKey::unversioned("a"));
        state.written = Some(wrote(5));
        condition(&passed.status(&well(), 2), "Reconciling")
    };
    assert_eq!(reconciling(Some(4)), is("True", "RollingOut", 2));
    assert_eq!(reconciling(Some(5)), is("False", "Reconciled", 2));
    // Scaling changes the generation too, but is no rollout.
    assert_eq!(reconciling(Some(6)), is("False", "Reconciled", 2));
}

#[test]
fn unavailable_replicas_belong_to_a_rollout_but_not_to_a_scale_up() {
    let reconciling = |reason: &str| {
        let progressing = DeploymentCondition {
            type_: "Progressing".to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            ..DeploymentCondition::default()
        };
        let queue = deployed(|d| d.status.as_mut().unwrap().conditions = Some(vec![progressing]));
        condition(&Passed::of(queue).status(&well(), 2), "Reconciling")
    };
    for reason in [
        "NewReplicaSetCreated",
        "FoundNewReplicaSet",
        "ReplicaSetUpdated",
    ] {
        assert_eq!(reconciling(reason), is("True", "RollingOut", 2), "{reason}");
    }
    let over = reconciling("NewReplicaSetAvailable");
    assert_eq!(over, is("False", "Reconciled", 2));
}

#[test]
fn ready_describes_the_last_generation_that_was_rolled_out() {
    let mut rolling = healthy();
    rolling.pods.replica_sets = 2;
    let ready = |before: &TaskQueueWorkerStatus, generation| {
        condition(
            &Passed::of(rolling.clone()).status(before, generation),
            "Ready",
        )
        .2
    };
    assert_eq!(ready(&well(), 2), 1);
    assert_eq!(ready(&well(), 3), 1, "changed again meanwhile");
    assert_eq!(ready(&well(), 1), 1, "kubectl rollout restart");
    let mut unready = well();
    unready.conditions[0].status = "False".to_owned();
    assert_eq!(ready(&unready, 2), 1);
    unready.conditions[0].observed_generation = Some(2);
    assert_eq!(ready(&unready, 2), 1, "the first of the new pods is ready");
    assert_eq!(ready(&TaskQueueWorkerStatus::default(), 1), 1);
}

#[test]
fn a_paused_rollout_is_reported_and_needs_a_person() {
    let paused = |outdated: bool| {
        let queue = deployed(|d| {
            d.spec.as_mut().unwrap().paused = Some(true);
            d.status.as_mut().unwrap().updated_replicas = Some(i32::from(!outdated));
        });
        Passed::of(queue).status(&well(), 2)
    };
    let status = paused(true);
    assert_eq!(condition(&status, "Ready"), is("True", "Available", 1));
    assert_eq!(
        condition(&status, "Progressing"),
        is("False", "RolloutPaused", 2)
    );
    assert_eq!(
        condition(&status, "Stalled"),
        is("True", "RolloutPaused", 2)
    );
    let message = &find(&status, "Progressing").message;
    assert!(
        message.contains("kubectl rollout resume deployment/"),
        "{message}"
    );
    let nothing_to_replace = paused(false);
    assert_eq!(
        condition(&nothing_to_replace, "Progressing"),
        is("False", "RolledOut", 2)
    );
}

#[test]
fn a_queue_that_wakes_from_zero_stays_ready_for_as_long_as_a_pod_takes() {
    let mut queue = healthy();
    queue.pods.live[0].phase = PodPhase::Starting;
    let ready = |minutes_ago: Option<u64>, queue: &ObservedQueue| {
        let mut passed = Passed::of(queue.clone());
        let at = minutes_ago.map(|minutes| NOW.minus(Duration::from_mins(minutes)));
        passed.state.queue(QueueKey::unversioned("a")).at_zero = at;
        condition(&passed.status(&well(), 1), "Ready")
    };
    assert_eq!(ready(Some(4), &queue), is("True", "Available", 1));
    let waiting = is("False", "WaitingForReplicas", 1);
    assert_eq!(ready(Some(5), &queue), waiting);
    assert_eq!(ready(None, &queue), waiting, "its last pod has gone");
    let why = NotReady::new(Reason::ImagePullFailed, "no such image");
    queue.pods.trouble = Some(why);
    assert_eq!(ready(Some(1), &queue), is("False", "ImagePullFailed", 1));
}

#[test]
fn a_queue_counts_as_waking_from_zero_until_a_pod_is_ready() {
    let earlier = Some(NOW.minus(Duration::from_secs(9)));
    let at_zero = |queue: ObservedQueue, scaled: Option<u32>| {
        let mut passed = Passed::of(queue);
        passed.state.queue(QueueKey::unversioned("a")).at_zero = earlier;
        let done = passed.applied.queues.get_mut("a").unwrap();
        done.scaled = scaled.map(|to| Scaled {
            from: 1,
            to,
            resource_version: None,
        });
        passed.facts()[0].carry_over(NOW).at_zero
    };
    let mut starting = healthy();
    starting.pods.live[0].phase = PodPhase::Starting;
    assert_eq!(at_zero(starting, None), earlier);
    assert_eq!(at_zero(healthy(), None), None);
    assert_eq!(at_zero(healthy(), Some(0)), Some(NOW));
    assert_eq!(at_zero(unseen(), None), earlier, "it was not even there");
}

#[test]
fn a_quota_that_draining_pods_use_is_not_stalled() {
    let said_of = |draining: bool| {
        let mut queue = deployed(|d| {
            d.status.as_mut().unwrap().conditions = Some(vec![DeploymentCondition {
                type_: "ReplicaFailure".to_owned(),
                status: "True".to_owned(),
                message: Some(
                    "pods \"d-1-x2\" is forbidden: exceeded quota: pods, requested: \
                               pods=1, used: pods=2, limited: pods=2"
                        .to_owned(),
                ),
                ..DeploymentCondition::default()
            }]);
        });
        queue.pods.live[0].phase = PodPhase::Starting;
        queue.pods.draining = draining.then(|| drains("old")).into_iter().collect();
        let status = Passed::of(queue).status(&well(), 1);
        let stalled = find(&status, "Stalled").status.clone();
        (find(&status, "Ready").message.clone(), stalled)
    };
    let (message, stalled) = said_of(true);
    assert!(
        message.contains("draining pods of this fleet count until they are gone"),
        "{message}"
    );
    assert!(!message.contains("d-1-x2"), "{message}");
    assert_eq!(stalled, "False");
    let (message, stalled) = said_of(false);
    assert!(
        message.ends_with("limited: pods=2; raise the quota"),
        "{message}"
    );
    assert_eq!(stalled, "True");
}

#[test]
fn a_crash_looping_pod_is_not_a_worker_while_it_runs() {
    let mut queue = healthy();
    queue.pods.relapsing = 1;
    let why = NotReady::new(Reason::PodsFailing, "container worker ends");
    queue.pods.trouble = Some(why);
    let failing = ("Ready", "False", "PodsFailing");
    assert_eq!(Passed::of(queue.clone()).conditions()[0], failing);
    // Beside a pod that stays up, it only concerns the rollout or the start.
    queue.pods.live.push(taskqueue_temporal::LivePod {
        name: "q".to_owned(),
        phase: PodPhase::Ready,
    });
    let conditions = Passed::of(queue).conditions();
    assert_eq!(conditions[0], ("Ready", "True", "Available"));
    assert_eq!(conditions[1], ("Progressing", "False", "PodsFailing"));
}

#[test]
fn a_new_connection_has_a_minute_to_be_checked() {
    let mut passed = Passed::of(healthy());
    let why = NotReady::new(Reason::ConnectionUntried, "not yet");
    passed.plan.queues[0].step = Step::Refused(why);
    let status = passed.status(&well(), 2);
    assert_eq!(condition(&status, "Ready"), is("True", "Available", 1));
    let trying = is("True", "ConnectionUntried", 2);
    assert_eq!(condition(&status, "Reconciling"), trying);
    let standing = passed.facts()[0].carry_over(NOW).unapplied.unwrap();
    assert_eq!((standing.since, standing.transient), (NOW, true));
    let state = passed.state.queue(QueueKey::unversioned("a"));
    state.unapplied = Some(unapplied::failing(NOW.minus(KEPT), true));
    let status = passed.status(&well(), 2);
    assert_eq!(
        condition(&status, "Ready"),
        is("False", "ConnectionUntried", 2)
    );
    assert_eq!(
        condition(&status, "Stalled"),
        is("True", "ConnectionUntried", 2)
    );
}
