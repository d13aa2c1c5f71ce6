//! The exact requests of the writer, against an API server that records them.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};
use taskqueue_scaling::{Observation, Reading, Replicas, Slots, UnknownReason};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::ApiResource;

use super::*;
use crate::applied::Scaled;
use crate::clock::Clock;
use crate::drift;
use crate::error::{Class, Error};
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::owned::{CREATING, DELETION_COST};
use crate::plan::{
    ApplyPrecondition, BudgetStep, DeletionCost, Protection, Prune, QueuePlan, Scale,
    ScalePrecondition, Step,
};
use crate::testing::{
    ApiRequest, Log, NOW, accepted, api, existing, failure, simple, usable, willing_api,
};

mod budgets;
mod moved;
mod present;
mod recurring_load;
mod slow;

const PATH: &str = "/apis/apps/v1/namespaces/shop/deployments";
const BUDGETS: &str = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets";

/// A writer whose passes wait for every write to end.
struct Patient(Writer);

impl Patient {
    async fn apply(&self, plan: &Plan) -> Applied {
        self.0.apply(plan, Duration::MAX, || {}).await
    }
}

fn writer(client: Client) -> Patient {
    let metrics = Metrics::new(Clock::start()).unwrap();
    Patient(Writer::new(client, metrics, Leading::default()))
}

fn object() -> Deployment {
    let fleet = simple();
    taskqueue_api::render(&fleet, &fleet.queues[0], &usable(&fleet).spec)
}

fn budget() -> PodDisruptionBudget {
    let mut fleet = simple();
    let one = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(1);
    fleet.disruption_budget = Some(taskqueue_api::fleet::DisruptionBudget::MaxUnavailable(one));
    taskqueue_api::render::disruption_budget(&fleet, &fleet.queues[0]).unwrap()
}

fn name() -> String {
    simple().queues[0].workload_name.clone()
}

fn queue(step: Step) -> QueuePlan {
    let not_yet = UnknownReason::NotReadYet;
    QueuePlan {
        queue: "a".to_owned(),
        workload_name: name(),
        target: None,
        step,
        initial_replicas: 2,
        costs: Vec::new(),
        protections: Vec::new(),
        remember: None,
        scale: None,
        decision: None,
        observation: Observation {
            replicas: Replicas::default(),
            backlog: Reading::Unknown {
                reason: not_yet,
                since: NOW,
                failures: 0,
            },
            slots: Reading::Known {
                value: Slots::default(),
                taken_at: NOW,
            },
            drained: Vec::new(),
        },
        changed_by_others: None,
        vanished: false,
        budget: BudgetStep::Keep,
    }
}

fn plan(queues: Vec<QueuePlan>) -> Plan {
    Plan {
        fleet: simple().key,
        queues,
        prunes: Vec::new(),
        requeue_after: std::time::Duration::from_secs(5),
    }
}

fn apply_step() -> Step {
    Step::Apply {
        object: Box::new(object()),
        uid: "deployment-uid".to_owned(),
        decided_on: ApplyPrecondition {
            resource_version: "9".to_owned(),
            live: Some(drift::live(&existing(&simple(), 1, "9"), &object())),
        },
        finish_creation: None,
    }
}

fn decided_on() -> ScalePrecondition {
    ScalePrecondition {
        uid: "deployment-uid".to_owned(),
        resource_version: "9".to_owned(),
        generation: None,
    }
}

fn shrink() -> Scale {
    Scale {
        from: 5,
        to: 3,
        decided_on: decided_on(),
    }
}

/// An API server that keeps the annotation of an unfinished creation until its manager gives it up.
fn creating_api() -> (Client, Log) {
    api(|request| {
        if request.line.starts_with("GET") {
            return (404, failure(404, "NotFound", "not found"));
        }
        let mut body = accepted(request);
        if request.body["spec"].get("template").is_some() {
            body["metadata"]["annotations"][CREATING] = json!("true");
        }
        (200, body)
    })
}

#[tokio::test]
async fn a_deployment_is_created_in_three_steps_and_the_replicas_have_one_owner() {
    let (client, log) = creating_api();
    let applied = writer(client)
        .apply(&plan(vec![queue(Step::Create(Box::new(object())))]))
        .await;
    let name = name();
    let requests = log.take();
    let lines: Vec<&str> = requests
        .iter()
        .map(|request| request.line.as_str())
        .collect();
    assert_eq!(
        lines,
        [
            format!("GET {PATH}/{name}"),
            format!("PATCH {PATH}/{name}?&fieldManager=taskqueue-operator%2Fscaling"),
            format!("PATCH {PATH}/{name}?&force=true&fieldManager=taskqueue-operator"),
            format!("PATCH {PATH}/{name}?&force=true&fieldManager=taskqueue-operator%2Fscaling"),
        ]
    );
    let mut first = serde_json::to_value(object()).unwrap();
    first["spec"]["replicas"] = json!(2);
    first["metadata"]["annotations"][CREATING] = json!("true");
    assert_eq!(
        requests[1].body, first,
        "the whole object with its replicas"
    );
    let mut second = serde_json::to_value(object()).unwrap();
    second["metadata"]["uid"] = json!("deployment-uid");
    assert_eq!(
        requests[2].body, second,
        "the whole object without them, for that object only"
    );
    assert_eq!(
        requests[3].body,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": name, "namespace": "shop", "uid": "deployment-uid",
                "resourceVersion": "100",
            },
            "spec": {"replicas": 3},
        }),
        "the replicas alone, as they are"
    );
    let done = &applied.queues["a"];
    assert!(done.error.is_none() && done.created);
    assert_eq!(
        done.scaled,
        Some(Scaled {
            from: 0,
            to: 2,
            resource_version: None
        })
    );
}

#[tokio::test]
async fn pods_are_marked_before_a_scale_down_which_carries_the_resource_version() {
    let (client, log) = willing_api();
    let cost = |pod: &str, cost| DeletionCost {
        pod: pod.to_owned(),
        cost,
    };
    let queue = QueuePlan {
        costs: vec![cost("p2", -1_000_000), cost("p4", 0)],
        scale: Some(shrink()),
        ..queue(Step::Keep)
    };
    let applied = writer(client).apply(&plan(vec![queue])).await;
    let request = |line: String, body: Value| ApiRequest { line, body };
    let mark = |pod: &str, cost: &str| {
        request(
            format!(
                "PATCH \
                 /api/v1/namespaces/shop/pods/{pod}?&fieldManager=taskqueue-operator%2Fscaling"
            ),
            json!({"metadata": {"annotations": {DELETION_COST: cost}}}),
        )
    };
    assert_eq!(
        log.take(),
        [
            mark("p2", "-1000000"),
            mark("p4", "0"),
            request(
                format!(
                    "PATCH {PATH}/{}/scale?&fieldManager=taskqueue-operator%2Fscaling",
                    name()
                ),
                json!({
                    "metadata": {"uid": "deployment-uid", "resourceVersion": "9"},
                    "spec": {"replicas": 3},
                }),
            ),
        ]
    );
    let scaled = Scaled {
        from: 5,
        to: 3,
        resource_version: Some("100".to_owned()),
    };
    assert_eq!(applied.queues["a"].scaled, Some(scaled));
}

#[tokio::test]
async fn pods_with_long_tasks_are_annotated_and_later_cleared() {
    let (client, log) = api(|_| (200, json!({"metadata": {}})));
    let change = |pod: &str, protect| Protection {
        pod: pod.to_owned(),
        protect,
    };
    let queue = QueuePlan {
        protections: vec![change("p1", true), change("p2", false)],
        ..queue(Step::Keep)
    };
    let applied = writer(client).apply(&plan(vec![queue])).await;
    let annotated = |pod: &str, annotations: Value| ApiRequest {
        line: format!(
            "PATCH /api/v1/namespaces/shop/pods/{pod}?&fieldManager=taskqueue-operator%2Fscaling"
        ),
        body: json!({"metadata": {"annotations": annotations}}),
    };
    assert_eq!(
        log.take(),
        [
            annotated(
                "p1",
                json!({
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                    "karpenter.sh/do-not-disrupt": "true",
                    "taskqueue.dev/protected": "true",
                })
            ),
            annotated(
                "p2",
                json!({
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": null,
                    "karpenter.sh/do-not-disrupt": null,
                    "taskqueue.dev/protected": null,
                })
            ),
        ]
    );
    assert!(applied.queues["a"].error.is_none());
}

#[tokio::test]
async fn a_target_is_scaled_if_it_is_as_it_was_decided_on() {
    let growth = |version: &'static str, replicas: u32| {
        let (client, log) = api(move |request| {
            let scale = json!({
                "kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": {
                    "name": "worker", "namespace": "shop", "uid": "w", "resourceVersion": "12",
                },
                "spec": {"replicas": replicas},
            });
            let sent = &request.body["metadata"]["resourceVersion"];
            if request.line.starts_with("PATCH") && *sent != json!(version) {
                return (
                    409,
                    failure(409, "Conflict", "the object has been modified"),
                );
            }
            (200, scale)
        });
        (client, log)
    };
    let resource = ApiResource {
        group: "argoproj.io".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "argoproj.io/v1alpha1".to_owned(),
        kind: "Rollout".to_owned(),
        plural: "rollouts".to_owned(),
    };
    let queue = |from, to| QueuePlan {
        workload_name: "worker".to_owned(),
        target: Some(resource.clone()),
        scale: Some(Scale {
            from,
            to,
            decided_on: ScalePrecondition {
                uid: "w".to_owned(),
                resource_version: "9".to_owned(),
                generation: None,
            },
        }),
        ..queue(Step::Keep)
    };
    // Only its version has changed: the increase is sent again.
    let (client, log) = growth("12", 2);
    let applied = writer(client).apply(&plan(vec![queue(2, 4)])).await;
    assert!(applied.queues["a"].scaled.is_some());
    let scale = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/worker/scale";
    let patch = format!("PATCH {scale}?&fieldManager=taskqueue-operator%2Fscaling");
    assert_eq!(
        log.lines(),
        [patch.clone(), format!("GET {scale}"), patch.clone()]
    );
    // Somebody else has scaled it, or it shrinks: decided again.
    for (replicas, from, to) in [(3, 2, 4), (4, 4, 2)] {
        let (client, _) = growth("12", replicas);
        let applied = writer(client).apply(&plan(vec![queue(from, to)])).await;
        let done = &applied.queues["a"];
        assert!(matches!(done.error, Some(Error::Stale { .. })), "{done:?}");
        assert!(done.scaled.is_none());
    }
}

#[tokio::test]
async fn a_stale_scale_down_is_refused_and_decided_again() {
    let (client, log) = api(|_| {
        (
            409,
            failure(409, "Conflict", "the object has been modified"),
        )
    });
    let queue = QueuePlan {
        scale: Some(shrink()),
        ..queue(Step::Keep)
    };
    let applied = writer(client).apply(&plan(vec![queue])).await;
    assert_eq!(log.lines().len(), 1);
    let done = &applied.queues["a"];
    assert!(matches!(done.error, Some(Error::Stale { .. })));
    assert_eq!(done.scaled, None);
}

#[tokio::test]
async fn a_deleted_pod_needs_no_mark_and_a_failed_mark_stops_the_scale_down() {
    let answers = |code: u16| {
        api(move |request| {
            if request.line.contains("/pods/") {
                return (code, failure(code, "", "no"));
            }
            (200, accepted(request))
        })
    };
    let plan = || {
        let costs = vec![DeletionCost {
            pod: "p".to_owned(),
            cost: -1,
        }];
        plan(vec![QueuePlan {
            costs,
            scale: Some(shrink()),
            ..queue(Step::Keep)
        }])
    };
    let (client, log) = answers(404);
    assert!(
        writer(client).apply(&plan()).await.queues["a"]
            .scaled
            .is_some()
    );
    assert_eq!(log.lines().len(), 2);
    let (client, log) = answers(500);
    assert!(
        writer(client).apply(&plan()).await.queues["a"]
            .scaled
            .is_none()
    );
    assert_eq!(log.lines().len(), 1);
}

#[tokio::test]
async fn a_queue_does_not_wait_for_a_failing_one_and_deletions_come_last() {
    let (client, log) = api(|request| {
        if request.line.contains("broken") {
            return (500, failure(500, "InternalError", "etcd is away"));
        }
        if request.line.starts_with("GET") {
            return (404, failure(404, "NotFound", "not found"));
        }
        (200, accepted(request))
    });
    let mut broken = queue(apply_step());
    broken.queue = "broken".to_owned();
    if let Step::Apply { object, .. } = &mut broken.step {
        object.metadata.name = Some("broken".to_owned());
    }
    let mut plan = plan(vec![broken, queue(apply_step())]);
    plan.prunes.push(Prune {
        deployment_name: "old".to_owned(),
        uid: "old-uid".to_owned(),
        queue: "old".to_owned(),
        backlog: None,
        budget: true,
    });
    let applied = writer(client).apply(&plan).await;
    let requests = log.take();
    let lines: Vec<&str> = requests
        .iter()
        .map(|request| request.line.as_str())
        .collect();
    assert_eq!(
        lines,
        [
            format!("PATCH {PATH}/broken?&force=true&fieldManager=taskqueue-operator"),
            format!(
                "PATCH {PATH}/{}?&force=true&fieldManager=taskqueue-operator",
                name()
            ),
            format!("GET {BUDGETS}/old"),
            format!("DELETE {PATH}/old?"),
        ]
    );
    assert_eq!(
        requests[3].body,
        json!({"propagationPolicy": "Background", "preconditions": {"uid": "old-uid"}})
    );
    let errors: Vec<Class> = applied.errors().map(Error::class).collect();
    assert_eq!(errors, [Class::Unavailable]);
    assert_eq!(applied.pruned, plan.prunes);
}

#[tokio::test]
async fn a_fleet_scales_up_although_its_template_or_its_budget_is_rejected() {
    let grow = || Scale {
        from: 0,
        to: 4,
        decided_on: decided_on(),
    };
    let with = |scale| {
        let mut queue = queue(apply_step());
        queue.budget = BudgetStep::Apply(Box::new(budget()));
        queue.scale = Some(scale);
        plan(vec![queue])
    };
    let scaled = format!(
        "PATCH {PATH}/{}/scale?&fieldManager=taskqueue-operator%2Fscaling",
        name()
    );
    // The path whose writes fail, the code, the change, whether the replicas are written.
    let table = [
        ("/deployments/", 500, grow(), true),
        ("/deployments/", 422, grow(), true),
        ("/poddisruptionbudgets/", 503, grow(), true),
        ("/deployments/", 409, grow(), true),
        ("/deployments/", 404, grow(), true),
        ("/poddisruptionbudgets/", 503, shrink(), false),
    ];
    for (fails, code, scale, written) in table {
        let (client, log) = api(move |request| {
            if request.line.starts_with("PATCH") && request.line.contains("/scale?") {
                return (200, accepted(request));
            }
            if request.line.starts_with("PATCH") && request.line.contains(fails) {
                return (
                    code,
                    failure(code, "", "no endpoints available for service"),
                );
            }
            if request.line.starts_with("GET") {
                return (404, failure(404, "NotFound", "not found"));
            }
            (200, accepted(request))
        });
        let applied = writer(client).apply(&with(scale)).await;
        let done = &applied.queues["a"];
        let what = format!("{fails} {code}");
        assert_eq!(log.lines().contains(&scaled), written, "{what}");
        assert_eq!(done.scaled.is_some(), written, "{what}");
        assert!(done.error.is_some(), "{what}: and the error is reported");
    }
}

#[tokio::test]
async fn a_missing_object_counts_as_deleted() {
    for code in [404, 409] {
        let (client, _) = api(move |_| (code, failure(code, "", "gone")));
        let mut plan = plan(Vec::new());
        plan.prunes.push(Prune {
            deployment_name: "old".to_owned(),
            uid: "old-uid".to_owned(),
            queue: "old".to_owned(),
            backlog: None,
            budget: false,
        });
        let applied = writer(client).apply(&plan).await;
        assert_eq!(
            (applied.pruned.len(), applied.prune_errors.len()),
            (1, 0),
            "{code}"
        );
    }
}

#[tokio::test]
async fn without_work_there_is_no_request() {
    let (client, log) = willing_api();
    let hold = Step::Hold(crate::not_ready::NotReady::new(
        taskqueue_api::Reason::SecretNotFound,
        "there is no Secret x",
    ));
    writer(client)
        .apply(&plan(vec![queue(Step::Keep), queue(hold)]))
        .await;
    assert_eq!(log.lines(), Vec::<String>::new());
}
