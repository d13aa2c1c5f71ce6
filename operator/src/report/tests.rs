//! What is reported: conditions by what is wrong, a status that is written only when it says
//! something else, Events only on transitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};
use taskqueue_api::Reason;
use taskqueue_scaling::{PodPhase, UnknownReason};
use taskqueue_temporal::{CallErrorKind, LivePod, Method};

use super::*;
use crate::apply::QueueApplied;
use crate::clock::{Clock, Moment};
use crate::observe::ObservedQueue;
use crate::observe::pods::Pods;
use crate::plan;
use crate::problem::Problem;
use crate::testing::{
    Log, NOW, api, backlog, failure, fleet, held, observed, resource, simple, unseen, willing_api,
};

fn now() -> Moment {
    Moment {
        monotonic: NOW,
        wall: "2026-02-03T04:05:06Z".parse::<Timestamp>().unwrap(),
    }
}

/// One whole pass but for the writing; `error` is what the writing of the queue came to.
struct Passed {
    fleet: Fleet,
    observed: Observed,
    plan: Plan,
    applied: Applied,
    memory: FleetMemory,
}

fn passed(fleet: Fleet, queue: ObservedQueue, error: Option<Error>) -> Passed {
    let observed = observed(&fleet, queue);
    let mut memory = FleetMemory::default();
    let wanted = plan::wanted(&fleet, &observed, &memory, NOW);
    plan::record(&fleet, &wanted, &mut memory, NOW);
    let plan = plan::plan(&fleet, &observed, wanted, &memory, NOW);
    let mut applied = Applied::default();
    applied.queues.insert(
        "a".to_owned(),
        QueueApplied {
            error,
            ..QueueApplied::default()
        },
    );
    Passed {
        fleet,
        observed,
        plan,
        applied,
        memory,
    }
}

impl Passed {
    fn of(queue: ObservedQueue) -> Self {
        passed(simple(), queue, None)
    }

    /// Type, status and reason of every condition.
    fn conditions(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let Self {
            fleet,
            observed,
            plan,
            applied,
            memory,
        } = self;
        let facts = QueueFacts::collect(fleet, observed, plan, applied, memory);
        let verdicts =
            conditions::conditions(&facts, &applied.prune_errors, &Thresholds::default(), NOW);
        let words =
            |v: &conditions::Verdict| (v.kind.as_str(), v.status.as_str(), v.reason.as_str());
        verdicts.iter().map(words).collect()
    }

    async fn report(&mut self, reports: &Reports, subject: &Subject<'_>) -> Result<(), Error> {
        let Self {
            fleet,
            observed,
            plan,
            applied,
            memory,
        } = self;
        let pass = Pass {
            fleet,
            observed,
            plan,
            applied,
        };
        reports.pass(subject, &pass, memory, now()).await
    }
}

/// A queue with one ready pod and nothing to do.
fn healthy() -> ObservedQueue {
    let mut queue = unseen();
    queue.held = Some(Arc::new(held(&simple(), 1, "9")));
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

fn unread(kind: CallErrorKind) -> ObservedQueue {
    let mut queue = healthy();
    queue.reading.backlog = taskqueue_scaling::Reading::Unknown {
        reason: kind.unknown_reason(),
        since: NOW,
        failures: 1,
    };
    queue.reading.backlog_problem = Some(taskqueue_temporal::Problem {
        kind,
        method: Method::DescribeTaskQueue,
        message: "DescribeTaskQueue failed".to_owned(),
    });
    queue
}

const LIMITED: (&str, &str, &str) = ("ScalingLimited", "False", "NotLimited");
const STILL: (&str, &str, &str) = ("Progressing", "False", "RolledOut");

#[test]
fn a_healthy_fleet_is_ready_and_scaled() {
    assert_eq!(
        Passed::of(healthy()).conditions(),
        [
            ("Ready", "True", "Available"),
            STILL,
            ("ScalingActive", "True", "Active"),
            LIMITED
        ]
    );
}

#[test]
fn what_temporal_answers_is_told_by_scaling_active_and_leaves_ready_alone() {
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
                LIMITED
            ],
            "{kind:?}"
        );
    }
}

#[test]
fn pods_that_cannot_start_make_a_fleet_unready_only_if_none_is_left() {
    let trouble = Some(Problem::new(
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
fn a_rollout_is_progress() {
    let mut rolling = healthy();
    rolling.pods.replica_sets = 2;
    assert_eq!(
        Passed::of(rolling).conditions()[1],
        ("Progressing", "True", "RollingOut")
    );
}

#[test]
fn errors_that_last_are_told_and_those_that_pass_are_not() {
    let api_error = |code, message: &str| {
        let status = kube::core::Status::failure(message, "").with_code(code);
        Error::kube(
            Call::new("apply", "Deployment", "shop", "d"),
            kube::Error::Api(status.boxed()),
        )
    };
    let (namespace, name) = ("shop".to_owned(), "d".to_owned());
    let table = [
        (api_error(422, "bad"), "False", "ApplyFailed"),
        (api_error(403, "may not"), "False", "Forbidden"),
        (api_error(403, "exceeded quota"), "False", "ApplyFailed"),
        (
            Error::NameConflict { namespace, name },
            "False",
            "NameConflict",
        ),
        (Error::Bug("no".to_owned()), "False", "InternalError"),
        (api_error(409, "modified"), "True", "Available"),
        (api_error(429, "slow down"), "True", "Available"),
        (api_error(500, "etcd"), "True", "Available"),
    ];
    for (error, status, reason) in table {
        let text = error.to_string();
        let conditions = passed(simple(), healthy(), Some(error)).conditions();
        assert_eq!(conditions[0], ("Ready", status, reason), "{text}");
    }
}

#[test]
fn what_holds_a_queue_still_makes_both_conditions_false() {
    let mut rivalled = healthy();
    rivalled.rival = Some(simple().key);
    let conditions = Passed::of(rivalled).conditions();
    assert_eq!(conditions[0], ("Ready", "False", "QueueConflict"));
    assert_eq!(conditions[2], ("ScalingActive", "False", "QueueConflict"));
}

#[test]
fn modes_and_missing_signals_are_told_in_their_order() {
    let mode = |mode: &str| {
        let queues = json!([
            {"name": "a", "replicas": {"min": 1, "max": 5}, "scaling": {"mode": mode}}
        ]);
        passed(fleet(&queues), healthy(), None).conditions()[2]
    };
    assert_eq!(mode("Paused"), ("ScalingActive", "False", "Paused"));
    assert_eq!(mode("DryRun"), ("ScalingActive", "False", "DryRun"));
    let mut mute = healthy();
    mute.slots = taskqueue_scaling::Reading::Unknown {
        reason: UnknownReason::NotSupported,
        since: NOW,
        failures: 1,
    };
    assert_eq!(
        Passed::of(mute).conditions()[2],
        ("ScalingActive", "True", "SlotsUnknown")
    );
    let mut unseen = healthy();
    unseen.reading.backlog = crate::testing::unseen().reading.backlog;
    assert_eq!(
        Passed::of(unseen).conditions()[2],
        ("ScalingActive", "Unknown", "Starting")
    );
    let short = fleet(&json!([
        {"name": "a", "replicas": {"min": 0, "max": 5}, "scaling": {"queueWaitTarget": "2s"}}
    ]));
    assert_eq!(
        passed(short, healthy(), None).conditions()[2],
        ("ScalingActive", "True", "WaitTargetTooShort")
    );
}

#[test]
fn a_maximum_below_the_demand_limits() {
    let mut busy = unseen();
    busy.reading.backlog = backlog(100_000, NOW);
    assert_eq!(
        Passed::of(busy).conditions()[3],
        ("ScalingLimited", "True", "MaxReplicas")
    );
}

#[test]
fn the_event_of_a_reached_maximum_says_what_was_wanted_and_the_condition_has_no_number_that_moves()
{
    let mut busy = unseen();
    busy.reading.backlog = backlog(100_000, NOW);
    let Passed {
        fleet,
        observed,
        plan,
        applied,
        memory,
    } = Passed::of(busy);
    let facts = QueueFacts::collect(&fleet, &observed, &plan, &applied, &memory);
    let verdicts = conditions::conditions(&facts, &[], &Thresholds::default(), NOW);
    let new = status::status(
        &TaskQueueWorkerStatus::default(),
        fleet.generation,
        &facts,
        &verdicts,
        now().wall,
    );
    let lift = "the demand asks for more than replicas.max, which is 5; raise it if the cluster and what the workers call can carry more, or slow what arrives";
    assert_eq!(new.conditions[3].message, format!("queue a: {lift}"));
    let old = TaskQueueWorkerStatus::default();
    let events = events::transitions(&old, &new, &notes(&verdicts));
    let notes: Vec<&str> = events
        .iter()
        .filter(|event| event.reason == "MaxReplicas")
        .map(|event| event.note.as_str())
        .collect();
    assert_eq!(
        notes,
        [format!(
            "queue a: 1334 replicas are wanted and 5 are set: 100000 activity tasks wait; a task is assumed to take 5s; 1334 replicas of 100 slots at 75% clear them within the 5s target; replicas.max allows 5 of 1334; {lift}"
        )]
    );
}

#[test]
fn metrics_that_cannot_be_read_are_told_with_the_port_and_what_to_look_at() {
    let mut mute = healthy();
    mute.slots = taskqueue_scaling::Reading::Unknown {
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
    let queue = crate::memory::QueueKey::unversioned("a");
    let long_ago = NOW.minus(std::time::Duration::from_mins(3));
    passed.memory.queue(queue).slots_unknown_since = Some(long_ago);
    let facts = QueueFacts::collect(
        &passed.fleet,
        &passed.observed,
        &passed.plan,
        &passed.applied,
        &passed.memory,
    );
    let verdicts = conditions::conditions(&facts, &[], &Thresholds::default(), NOW);
    assert_eq!(
        (verdicts[2].reason, verdicts[2].message.as_str()),
        (
            Reason::SlotsUnknown,
            "queue a: the workers send no heartbeats, and the metrics of no pod can be read at metricsPort 9464, so scale-in is slower and never to zero: another HTTP status than 200 is answered; check the port"
        )
    );
}

fn reports(client: Client) -> Reports {
    Reports::new(
        client,
        Metrics::new(Clock::start()).unwrap(),
        "test".to_owned(),
        Thresholds::default(),
    )
}

/// The body of the status that was written, and the lines of all requests.
fn written(log: &Log) -> (Option<Value>, Vec<String>) {
    let asked = log.take();
    let status = asked
        .iter()
        .find(|asked| asked.line.contains("/status"))
        .map(|a| a.body.clone());
    (status, asked.into_iter().map(|asked| asked.line).collect())
}

const STATUS: &str = "PATCH /apis/taskqueue.dev/v1alpha1/namespaces/shop/taskqueueworkers/orders/status?&force=true&fieldManager=taskqueue-operator";

#[tokio::test]
async fn a_status_is_written_once_and_again_only_if_it_says_something_else() {
    let (client, log) = willing_api();
    let reports = reports(client);
    let queues = json!([{"name": "a", "replicas": {"min": 1, "max": 5}}]);
    let mut object = resource(&queues);
    let mut pass = Passed::of(healthy());
    let guarded = GuardedFleet::from_object(&object);
    pass.report(&reports, &Subject::of(&guarded)).await.unwrap();
    let (body, lines) = written(&log);
    assert_eq!(lines, [STATUS]);
    insta::assert_json_snapshot!(body.clone().unwrap());

    // The watch has not shown it yet; then it has.
    pass.report(&reports, &Subject::of(&guarded)).await.unwrap();
    object.status = Some(serde_json::from_value(body.unwrap()["status"].clone()).unwrap());
    object.metadata.resource_version = Some("200".to_owned());
    let guarded = GuardedFleet::from_object(&object);
    pass.memory.status = None;
    pass.report(&reports, &Subject::of(&guarded)).await.unwrap();
    assert_eq!(written(&log).1, Vec::<String>::new());

    let mut changed = Passed::of(unread(CallErrorKind::Unavailable));
    changed
        .report(&reports, &Subject::of(&guarded))
        .await
        .unwrap();
    let (_, lines) = written(&log);
    assert_eq!(
        lines,
        [
            STATUS,
            "POST /apis/events.k8s.io/v1/namespaces/shop/events?"
        ],
        "a status and an Event"
    );
}

#[tokio::test]
async fn nobody_is_left_to_be_told_about_a_fleet_that_is_gone() {
    for code in [404, 409] {
        let (client, _) = api(move |_| (code, failure(code, "", "gone")));
        let guarded = GuardedFleet::from_object(&resource(&json!([
            {"name": "a", "replicas": {"min": 1, "max": 5}}
        ])));
        let result = Passed::of(healthy())
            .report(&reports(client), &Subject::of(&guarded))
            .await;
        assert!(result.is_ok(), "{code}");
    }
}

#[tokio::test]
async fn a_status_that_cannot_be_written_is_an_error() {
    let (client, _) = api(|_| (500, failure(500, "", "etcd is away")));
    let guarded = GuardedFleet::from_object(&resource(&json!([
        {"name": "a", "replicas": {"min": 1, "max": 5}}
    ])));
    let result = Passed::of(healthy())
        .report(&reports(client), &Subject::of(&guarded))
        .await;
    assert!(result.is_err());
}

impl GuardedFleetExt for GuardedFleet {}

/// A resource as the cache would hold it.
trait GuardedFleetExt {
    fn from_object(object: &TaskQueueWorker) -> GuardedFleet {
        serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap()
    }
}

fn status_with(kind: &str, status: &str, reason: &str) -> TaskQueueWorkerStatus {
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: "a message".to_owned(),
        observed_generation: Some(1),
        last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now().wall),
    };
    TaskQueueWorkerStatus {
        conditions: vec![condition],
        ..TaskQueueWorkerStatus::default()
    }
}

#[test]
fn events_tell_transitions_and_nothing_else() {
    let none = TaskQueueWorkerStatus::default();
    let available = status_with("Ready", "True", "Available");
    let waiting = status_with("Ready", "False", "WaitingForReplicas");
    let failed = status_with("Ready", "False", "ImagePullFailed");
    let conflict = status_with("Ready", "False", "NameConflict");
    let told = |old: &TaskQueueWorkerStatus, new: &TaskQueueWorkerStatus| {
        let happenings = events::transitions(old, new, &BTreeMap::new());
        happenings
            .into_iter()
            .map(|h| (h.warning, h.reason))
            .collect::<Vec<_>>()
    };
    let warning = |reason: &str| vec![(true, reason.to_owned())];
    let normal = |reason: &str| vec![(false, reason.to_owned())];
    assert_eq!(told(&none, &available), []);
    assert_eq!(told(&none, &waiting), []);
    assert_eq!(told(&waiting, &available), []);
    assert_eq!(told(&available, &failed), warning("ImagePullFailed"));
    assert_eq!(told(&failed, &failed), []);
    assert_eq!(told(&failed, &conflict), warning("NameConflict"));
    assert_eq!(told(&failed, &available), normal("Available"));
    let limited = status_with("ScalingLimited", "True", "MaxReplicas");
    assert_eq!(told(&none, &limited), normal("MaxReplicas"));
    assert_eq!(
        told(
            &limited,
            &status_with("ScalingLimited", "False", "NotLimited")
        ),
        []
    );
}

#[test]
fn a_restarted_operator_does_not_forget_what_the_conditions_said() {
    let known = status_with("ScalingActive", "False", "NotPolling");
    let mut unseen = healthy();
    unseen.reading.backlog = crate::testing::unseen().reading.backlog;
    let Passed {
        fleet,
        observed,
        plan,
        applied,
        memory,
    } = Passed::of(unseen);
    let facts = QueueFacts::collect(&fleet, &observed, &plan, &applied, &memory);
    let verdicts = conditions::conditions(&facts, &[], &Thresholds::default(), NOW);
    let at = |generation| status::status(&known, generation, &facts, &verdicts, now().wall);
    assert_eq!(at(1).conditions[2], known.conditions[0]);
    assert_eq!(
        at(2).conditions[2].reason,
        "Starting",
        "that was about another spec"
    );
}
