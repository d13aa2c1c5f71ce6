//! What is accepted, what it becomes, and what is refused with which messages.

use std::time::Duration;

use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use taskqueue_scaling::{
    Behavior, Fallback, Mode, Policy, ScalingRules, SelectPolicy, StepKind, StepPolicy, TaskType,
};
use taskqueue_testkit::malformed::well_formed;

use super::validate;
use crate::fleet::{Connection, ConnectionSource, DisruptionBudget, FleetKey};
use crate::worker::TaskQueueWorker;

mod connections;
mod targets;
mod templates;

fn worker(change: impl FnOnce(&mut Value)) -> TaskQueueWorker {
    let mut resource = well_formed();
    resource["metadata"]["uid"] = json!("u-1");
    resource["metadata"]["generation"] = json!(4);
    change(&mut resource);
    serde_json::from_value(resource).unwrap()
}

fn refusals(change: impl FnOnce(&mut Value)) -> Vec<String> {
    validate(&worker(change))
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn an_accepted_resource_becomes_a_complete_fleet() {
    let fleet = validate(&worker(|_| {})).unwrap();
    assert_eq!(
        fleet.key,
        FleetKey {
            namespace: "default".to_owned(),
            name: "fleet".to_owned(),
            uid: "u-1".to_owned()
        }
    );
    assert_eq!(fleet.generation, 4);
    assert_eq!(fleet.drain_grace_seconds, 600);
    assert_eq!(
        fleet.connection,
        ConnectionSource::Inline(Box::new(Connection {
            address: "temporal:7233".to_owned(),
            temporal_namespace: "default".to_owned(),
            tls: None,
            api_key: None,
            proxy: None,
            operator_credentials: None,
        }))
    );
    let queues: Vec<_> = fleet
        .queues
        .iter()
        .map(|queue| {
            (
                queue.name.as_str(),
                queue.task_queue.as_str(),
                queue.task_types.clone(),
            )
        })
        .collect();
    assert_eq!(
        queues,
        [
            ("one", "one", TaskType::ALL.into_iter().collect()),
            ("two", "zwei", [TaskType::Activity].into_iter().collect()),
        ]
    );
    assert_eq!(
        fleet.queues[0].policy,
        Policy {
            min: 1,
            max: 2,
            ..Policy::default()
        }
    );
    assert_eq!(
        fleet.queues[1].policy,
        Policy {
            min: 0,
            max: 2,
            ..Policy::default()
        }
    );
}

#[test]
fn a_queue_overrides_the_fleet_field_by_field() {
    let fleet = validate(&worker(|resource| {
        resource["spec"]["scaling"] = json!({
            "queueWaitTarget": "10s",
            "targetUtilization": 60,
            "slotsPerReplica": 8,
            "backlogPerReplica": 50,
            "pollingInterval": "6s",
            "quietPollingInterval": "20s",
            "cooldownPeriod": "2m",
            "mode": "DryRun",
            "fallback": {"failureThreshold": 4, "replicas": 2},
            "behavior": {
                "scaleUp": {
                    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}],
                    "selectPolicy": "Min",
                    "tolerance": "0.05",
                },
                "scaleDown": {"stabilizationWindowSeconds": 90},
            },
        });
        resource["spec"]["drain"] = json!({"gracePeriod": "1m30s"});
        resource["spec"]["queues"][1]["scaling"] = json!({
            "queueWaitTarget": "1m",
            "mode": "Active",
            "behavior": {
                "scaleUp": {"tolerance": "0"},
                "scaleDown": {"policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]},
            },
        });
    }))
    .unwrap();
    let seconds = Duration::from_secs;
    let common = Policy {
        min: 1,
        max: 2,
        queue_wait_target: seconds(10),
        target_utilization: Some(60),
        slots_per_replica: 8,
        backlog_per_replica: Some(50),
        polling_interval: seconds(6),
        quiet_polling_interval: seconds(20),
        cooldown_period: seconds(120),
        behavior: Behavior {
            scale_up: ScalingRules {
                stabilization_window: seconds(0),
                policies: vec![StepPolicy {
                    kind: StepKind::Pods,
                    value: 4,
                    period: seconds(15),
                }],
                select: SelectPolicy::Min,
                tolerance_percent: 5,
            },
            scale_down: ScalingRules {
                stabilization_window: seconds(90),
                policies: Vec::new(),
                select: SelectPolicy::Max,
                tolerance_percent: 10,
            },
        },
        scheduled_min: 0,
        forecast: None,
        fallback: Some(Fallback {
            failure_threshold: 4,
            replicas: 2,
        }),
        drain_grace_period: seconds(90),
        mode: Mode::DryRun,
    };
    let mut other = Policy {
        min: 0,
        queue_wait_target: seconds(60),
        mode: Mode::Active,
        ..common.clone()
    };
    other.behavior.scale_up.tolerance_percent = 0;
    other.behavior.scale_down.policies = vec![StepPolicy {
        kind: StepKind::Percent,
        value: 50,
        period: seconds(60),
    }];
    let policies: Vec<Policy> = fleet.queues.into_iter().map(|queue| queue.policy).collect();
    assert_eq!(policies, [common, other]);
}

#[test]
fn the_metrics_port_of_a_queue_overrides_that_of_the_fleet() {
    let fleet = validate(&worker(|worker| {
        worker["spec"]["scaling"] = json!({"metricsPort": 9090});
        worker["spec"]["queues"][1]["scaling"] = json!({"metricsPort": 9464});
    }))
    .unwrap();
    let ports: Vec<_> = fleet
        .queues
        .iter()
        .map(|queue| queue.metrics_port)
        .collect();
    assert_eq!(ports, [Some(9090), Some(9464)]);
}

#[test]
fn a_disruption_budget_has_one_field_with_a_number_or_a_percentage() {
    let refused = |budget: Value| refusals(|worker| worker["spec"]["disruptionBudget"] = budget);
    let one = "spec.disruptionBudget: exactly one of maxUnavailable and minAvailable must be set";
    assert_eq!(refused(json!({})), [one]);
    assert_eq!(
        refused(json!({"maxUnavailable": 1, "minAvailable": 1})),
        [one]
    );
    for (field, value) in [
        ("maxUnavailable", json!(-1)),
        ("minAvailable", json!("101%")),
        ("minAvailable", json!("two")),
    ] {
        let refusal = format!(
            "spec.disruptionBudget.{field}: must be a number from 0, or a percentage from 0% to \
             100%"
        );
        assert_eq!(refused(json!({ field: value })), [refusal]);
    }
    let fleet = validate(&worker(|worker| {
        worker["spec"]["disruptionBudget"] = json!({"minAvailable": "50%"});
    }));
    let half = IntOrString::String("50%".to_owned());
    assert_eq!(
        fleet.unwrap().disruption_budget,
        Some(DisruptionBudget::MinAvailable(half))
    );
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_policy() {
    let fleet = validate(&worker(|resource| {
        resource["spec"]["scaling"] =
            serde_json::to_value(crate::scaling::ScalingSpec::defaults()).unwrap();
    }))
    .unwrap();
    assert_eq!(
        fleet.queues[0].policy,
        Policy {
            min: 1,
            max: 2,
            ..Policy::default()
        }
    );
}

#[test]
fn reserved_and_repeated_variables_are_refused_by_name() {
    let refused = refusals(|resource| {
        let container = &mut resource["spec"]["template"]["spec"]["containers"][0];
        container["env"] = json!([
            {"name": "TEMPORAL_TASK_QUEUE", "value": "mine"},
            {"name": "A"}, {"name": "A"},
        ]);
        resource["spec"]["queues"][1]["env"] =
            json!([{"name": "TEMPORAL_API_KEY", "value": "secret"}, {"name": "B"}, {"name": "B"}]);
    });
    assert_eq!(
        refused,
        [
            "spec.template.spec.containers[worker].env[TEMPORAL_TASK_QUEUE]: TEMPORAL_TASK_QUEUE \
             is set by the operator from connection, taskQueue and drain.gracePeriod; remove it \
             here",
            "spec.template.spec.containers[worker].env[A]: A is set twice; keep one",
            "spec.queues[two].env[TEMPORAL_API_KEY]: TEMPORAL_API_KEY is set by the operator from \
             connection, taskQueue and drain.gracePeriod; remove it here",
            "spec.queues[two].env[B]: B is set twice; keep one",
        ]
    );
}

#[test]
fn the_name_of_a_task_queue_is_measured_in_bytes() {
    let refused = |name: String| {
        refusals(|resource| resource["spec"]["queues"][1]["taskQueue"] = json!(name))
    };
    let path = "spec.queues[two].taskQueue: must have from 1 to 1000 bytes in UTF-8";
    for name in [String::new(), "a".repeat(1001), "é".repeat(501)] {
        assert_eq!(refused(name), [path]);
    }
    for name in ["a".repeat(1000), "é".repeat(500)] {
        validate(&worker(|resource| {
            resource["spec"]["queues"][1]["taskQueue"] = json!(name);
        }))
        .unwrap();
    }
}

#[test]
fn other_containers_may_set_reserved_variables() {
    validate(&worker(|resource| {
        resource["spec"]["template"]["spec"]["containers"][1]["env"] =
            json!([{"name": "TEMPORAL_ADDRESS", "value": "elsewhere:7233"}]);
    }))
    .unwrap();
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let refused = refusals(|resource| {
        resource["metadata"]["name"] = json!("Fleet");
        resource["spec"]["connection"] = json!({"address": "temporal:99999"});
        resource["spec"]["drain"] = json!({"gracePeriod": "25h"});
        let pod = &mut resource["spec"]["template"]["spec"];
        pod["terminationGracePeriodSeconds"] = json!(30);
        pod["hostNetwork"] = json!(true);
        pod["containers"][0]["volumeMounts"] =
            json!([{"name": "cache", "mountPath": "/var/run/secrets/taskqueue.dev/tls/"}]);
        resource["spec"]["queues"][1]["taskQueue"] = json!("one");
        resource["spec"]["queues"][1]["replicas"] = json!({"min": 3, "max": 2});
        resource["spec"]["queues"][1]["scaling"] =
            json!({"pollingInterval": "1m", "cooldownPeriod": "2s", "targetUtilization": 0});
    });
    assert_eq!(
        refused,
        [
            "metadata.name: must be at most 63 lower-case letters, digits and hyphens, because it \
             becomes a label of the pods",
            "spec.connection.address: address must be host:port without a scheme, such as \
             temporal-frontend.temporal.svc:7233 or [fd00::1]:7233, with a port from 1 to 65535",
            "spec.drain.gracePeriod: gracePeriod must be a duration such as 5s, 10m or 1h30m, \
             from 1s to 24h",
            "spec.template.spec.hostNetwork: must not be true: the operator finds the pod of a \
             worker by its host name",
            "spec.template.spec.terminationGracePeriodSeconds: must not be set: set \
             drain.gracePeriod, which sets the grace period of both the pod and the worker",
            "spec.template.spec.containers[worker].volumeMounts[cache].mountPath: must not be in \
             /var/run/secrets/taskqueue.dev, where the operator mounts credentials",
            "spec.queues[two].taskQueue: queue one serves the same taskQueue and at least one of \
             the same taskTypes, so the demand would be counted twice",
            "spec.queues[two].replicas.min: is 3, which is greater than max, 2",
            "spec.queues[two].scaling.targetUtilization: targetUtilization must be from 1 to 100",
            "spec.queues[two].scaling.cooldownPeriod: is 2s, which is shorter than \
             pollingInterval, 1m; a queue takes unset fields from spec.scaling",
        ]
    );
}

#[test]
fn a_schedule_sets_the_minimum_at_a_moment() {
    let fleet = validate(&worker(|resource| {
        resource["spec"]["scaling"] = json!({"schedule": [
            {
                "start": "0 8 * * MON-FRI", "end": "0 18 * * MON-FRI", "timeZone": "Europe/Berlin",
                "minReplicas": 2,
            },
        ]});
        resource["spec"]["queues"][1]["scaling"] = json!({"schedule": []});
    }))
    .unwrap();
    let minimums = |moment: &str| {
        let fleet = fleet.clone().at(moment.parse().unwrap());
        fleet
            .queues
            .iter()
            .map(|queue| queue.policy.scheduled_min)
            .collect::<Vec<_>>()
    };
    assert_eq!(minimums("2026-11-20T12:00:00Z"), [2, 0]);
    assert_eq!(minimums("2026-11-21T12:00:00Z"), [0, 0]);
    assert_eq!(
        fleet.next_scheduled_change("2026-11-21T12:00:00Z".parse().unwrap()),
        Some("2026-11-23T07:00:00Z".parse().unwrap())
    );
}

#[test]
fn an_invalid_schedule_of_the_fleet_is_refused_once() {
    let refused = refusals(|resource| {
        resource["spec"]["scaling"] = json!({"schedule": [
            {
                "start": "0 8 31 2 *", "end": "0 22-6 * * *", "timeZone": "Europe/Atlantis",
                "minReplicas": 2,
            },
            {"start": "0 8 * * *", "end": "0 8 * * *", "minReplicas": 2},
        ]});
    });
    assert_eq!(
        refused,
        [
            "spec.scaling.schedule[0].timeZone: \"Europe/Atlantis\" is not a time zone; use an \
             IANA name such as Europe/Berlin",
            "spec.scaling.schedule[0].start: \"0 8 31 2 *\" never matches: no such day exists",
            "spec.scaling.schedule[0].end: \"0 22-6 * * *\" is not a cron expression (the range \
             22-6 in the hour runs backwards; write two ranges, joined by a comma): write minute, \
             hour, day of month, month and day of week, such as \"0 8 * * MON-FRI\"",
            "spec.scaling.schedule[1].end: must not be the same as start: the window would never \
             open",
        ]
    );
}

#[test]
fn a_forecast_is_off_by_default_and_a_queue_overrides_the_fleet() {
    let zones = |fleets: Value, queues: Value| {
        let fleet = validate(&worker(|resource| {
            resource["spec"]["scaling"] = fleets;
            resource["spec"]["queues"][1]["scaling"] = queues;
        }));
        let queues = fleet.unwrap().queues.into_iter();
        let names = queues.map(|queue| queue.forecast?.iana_name().map(str::to_owned));
        names.collect::<Vec<_>>()
    };
    let named = |name: &str| Some(name.to_owned());
    let (enabled, disabled) = (json!({"mode": "Enabled"}), json!({"mode": "Disabled"}));
    let berlin = json!({"mode": "Enabled", "timeZone": "Europe/Berlin"});
    assert_eq!(zones(json!({}), json!({})), [None, None]);
    assert_eq!(
        zones(json!({"forecast": enabled}), json!({})),
        [named("UTC"), named("UTC")]
    );
    assert_eq!(
        zones(json!({"forecast": enabled}), json!({"forecast": disabled})),
        [named("UTC"), None]
    );
    assert_eq!(
        zones(json!({}), json!({"forecast": berlin})),
        [None, named("Europe/Berlin")]
    );
    let refused = refusals(|resource| {
        resource["spec"]["scaling"] =
            json!({"forecast": {"mode": "Disabled", "timeZone": "Europe/Atlantis"}});
    });
    assert_eq!(
        refused,
        [
            "spec.scaling.forecast.timeZone: \"Europe/Atlantis\" is not a time zone; use an IANA \
             name such as Europe/Berlin"
        ]
    );
}

#[test]
fn one_task_queue_may_be_split_by_task_type() {
    let fleet = validate(&worker(|resource| {
        resource["spec"]["queues"][0]["taskTypes"] = json!(["Workflow"]);
        resource["spec"]["queues"][1]["taskQueue"] = json!("one");
    }))
    .unwrap();
    assert_eq!(fleet.queues[0].task_queue, fleet.queues[1].task_queue);
    assert_ne!(fleet.queues[0].workload_name, fleet.queues[1].workload_name);
}

#[test]
fn a_queue_changes_the_template_only_for_itself() {
    let fleet = validate(&worker(|resource| {
        let pod = &mut resource["spec"]["template"]["spec"];
        pod["nodeSelector"] = json!({"zone": "a", "disk": "ssd"});
        pod["tolerations"] = json!([{"key": "x", "operator": "Exists"}]);
        pod["priorityClassName"] = json!("low");
        pod["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        pod["containers"][0]["env"] =
            json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
        let queue = &mut resource["spec"]["queues"][1];
        queue["nodeSelector"] = json!({"zone": "b"});
        queue["tolerations"] = json!([{"key": "y", "operator": "Exists"}]);
        queue["priorityClassName"] = json!("high");
        queue["resources"] = json!({"limits": {"memory": "1Gi"}});
        queue["env"] = json!([{"name": "C", "value": "3"}, {"name": "A", "value": "9"}]);
    }))
    .unwrap();
    let pods: Vec<Value> = fleet
        .queues
        .iter()
        .map(|queue| {
            let tolerations = queue.pods.pod.tolerations.iter().flatten();
            let env = queue.pods.worker.env.iter().flatten();
            let shown = |v: &EnvVar| format!("{}={}", v.name, v.value.as_deref().unwrap_or(""));
            json!({
                "nodeSelector": queue.pods.pod.node_selector,
                "tolerations": tolerations.map(|t| &t.key).collect::<Vec<_>>(),
                "priorityClassName": queue.pods.pod.priority_class_name,
                "resources": queue.pods.worker.resources,
                "env": env.map(shown).collect::<Vec<_>>(),
            })
        })
        .collect();
    assert_eq!(
        pods,
        [
            json!({
                "nodeSelector": {"zone": "a", "disk": "ssd"},
                "tolerations": ["x"],
                "priorityClassName": "low",
                "resources": {"requests": {"cpu": "1"}},
                "env": ["A=1", "B=2"],
            }),
            json!({
                "nodeSelector": {"zone": "b", "disk": "ssd"},
                "tolerations": ["x", "y"],
                "priorityClassName": "high",
                "resources": {"limits": {"memory": "1Gi"}},
                "env": ["A=9", "B=2", "C=3"],
            }),
        ]
    );
}
