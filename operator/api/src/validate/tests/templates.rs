//! The template of a queue, the settings of Deployments, and the pause by annotation.

use super::*;
use crate::fleet::{DeploymentSettings, Strategy, WorkerPods};

/// The pods of the queue `two` when it has this template.
fn with_template(template: Value) -> Vec<WorkerPods> {
    let fleet = validate(&worker(|resource| {
        resource["spec"]["queues"][1]["template"] = template;
    }));
    let queues = fleet.unwrap().queues.into_iter();
    queues.map(|queue| queue.pods).collect()
}

#[test]
fn the_template_of_a_queue_is_merged_over_that_of_the_fleet_for_it_alone() {
    let [one, two] = &with_template(json!({
        "metadata": {"labels": {"team": "render"}, "annotations": {"a": "b"}},
        "spec": {
            "serviceAccountName": "render",
            "containers": [
                {"name": "first", "image": "f:1"}, {"name": "worker", "image": "worker:2"},
            ],
            "volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "big"}}],
        },
    }))[..] else {
        panic!("the fleet has two queues")
    };
    let whole = |pods: &WorkerPods| {
        json!({
            "labels": pods.labels,
            "annotations": pods.annotations,
            "position": pods.position,
            "image": pods.worker.image,
            "containers": pods.pod.containers.iter().map(|c| &c.name).collect::<Vec<_>>(),
            "serviceAccountName": pods.pod.service_account_name,
            "volumes": pods.pod.volumes,
        })
    };
    assert_eq!(
        whole(one),
        json!({
            "labels": {"team": "orders"}, "annotations": {}, "position": 0, "image": "worker:1",
            "containers": ["sidecar"], "serviceAccountName": null,
            "volumes": [{"name": "cache", "emptyDir": {}}],
        })
    );
    assert_eq!(
        whole(two),
        json!({
            "labels": {"team": "render"}, "annotations": {"a": "b"}, "position": 0,
            "image": "worker:2",
            "containers": ["sidecar", "first"], "serviceAccountName": "render",
            "volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "big"}}],
        })
    );
}

#[test]
fn the_other_fields_of_a_queue_win_over_its_template() {
    let fleet = validate(&worker(|resource| {
        let queue = &mut resource["spec"]["queues"][1];
        queue["template"] = json!({"spec": {
            "priorityClassName": "low",
            "nodeSelector": {"zone": "a", "disk": "ssd"},
            "tolerations": [{"key": "x"}],
            "containers": [{
                "name": "worker", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "2"}],
                "resources": {"requests": {"cpu": "1"}},
            }],
        }});
        queue["env"] = json!([{"name": "B", "value": "3"}]);
        queue["resources"] = json!({"limits": {"memory": "1Gi"}});
        queue["nodeSelector"] = json!({"zone": "b"});
        queue["tolerations"] = json!([{"key": "y"}]);
        queue["priorityClassName"] = json!("high");
    }));
    let pods = fleet.unwrap().queues[1].pods.clone();
    assert_eq!(
        json!({
            "env": pods.worker.env,
            "resources": pods.worker.resources,
            "nodeSelector": pods.pod.node_selector,
            "tolerations": pods.pod.tolerations,
            "priorityClassName": pods.pod.priority_class_name,
        }),
        json!({
            "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}],
            "resources": {"limits": {"memory": "1Gi"}},
            "nodeSelector": {"zone": "b", "disk": "ssd"},
            "tolerations": [{"key": "x"}, {"key": "y"}],
            "priorityClassName": "high",
        })
    );
}

#[test]
fn mistakes_in_the_template_of_a_queue_are_refused_with_their_path() {
    let refused = refusals(|resource| {
        resource["spec"]["queues"][1]["template"] = json!({
            "metadata": {"labels": {"taskqueue.dev/queue": "mine"}},
            "spec": {
                "hostNetwork": true,
                "terminationGracePeriodSeconds": 5,
                "volumes": [{"name": "taskqueue-tls"}],
                "initContainers": [{"name": "sidecar", "image": "s:1"}, {"name": "fetch"}],
                "containers": [
                    {"name": "worker", "env": [{"name": "TEMPORAL_ADDRESS", "value": "x:1"}]},
                    {"name": "wroker", "args": ["x"]},
                    {"name": "sidecar"},
                ],
            },
        });
    });
    let template = "spec.queues[two].template";
    assert_eq!(
        refused,
        [
            "metadata.labels[taskqueue.dev/queue]: must not start with taskqueue.dev/, which is \
             reserved for the operator",
            "spec.hostNetwork: must not be true: the operator finds the pod of a worker by its \
             host name",
            "spec.terminationGracePeriodSeconds: must not be set: set drain.gracePeriod, which \
             sets the grace period of both the pod and the worker",
            "spec.volumes[taskqueue-tls].name: is reserved for a volume of the operator; choose \
             another name",
            "spec.containers[worker].env[TEMPORAL_ADDRESS]: TEMPORAL_ADDRESS is set by the \
             operator from connection, taskQueue and drain.gracePeriod; remove it here",
            "spec.containers[wroker]: needs an image, because the containers of spec.template \
             have none of this name; correct the name, or set an image",
            "spec.initContainers[fetch]: needs an image, because the initContainers of \
             spec.template have none of this name; correct the name, or set an image",
            "spec.containers[sidecar]: is used twice; names of containers and init containers \
             must be unique",
        ]
        .map(|refusal| format!("{template}.{refusal}"))
    );
}

#[test]
fn a_queue_overrides_the_settings_of_deployments_field_by_field() {
    let fleet = validate(&worker(|resource| {
        resource["spec"]["deployment"] = json!({
            "strategy": {"type": "Recreate"},
            "minReadySeconds": 5,
            "revisionHistoryLimit": 3,
            "labels": {"team": "orders", "tier": "back"},
            "annotations": {"a": "1"},
        });
        resource["spec"]["queues"][1]["deployment"] = json!({
            "strategy": {"rollingUpdate": {"maxUnavailable": "50%"}},
            "progressDeadlineSeconds": 1200,
            "labels": {"team": "render"},
            "annotations": {"b": "2"},
        });
    }));
    let map = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let settings: Vec<DeploymentSettings> = fleet
        .unwrap()
        .queues
        .into_iter()
        .map(|queue| queue.deployment)
        .collect();
    assert_eq!(
        settings,
        [
            DeploymentSettings {
                strategy: Strategy::Recreate,
                min_ready_seconds: Some(5),
                // The termination grace period of 615 s, and the 600 s of Kubernetes.
                progress_deadline_seconds: Some(1215),
                revision_history_limit: Some(3),
                labels: map(&[("team", "orders"), ("tier", "back")]),
                annotations: map(&[("a", "1")]),
            },
            DeploymentSettings {
                strategy: Strategy::RollingUpdate {
                    max_surge: IntOrString::String("25%".to_owned()),
                    max_unavailable: IntOrString::String("50%".to_owned()),
                },
                min_ready_seconds: Some(5),
                progress_deadline_seconds: Some(1200),
                revision_history_limit: Some(3),
                labels: map(&[("team", "render"), ("tier", "back")]),
                annotations: map(&[("a", "1"), ("b", "2")]),
            },
        ]
    );
}

#[test]
fn settings_with_which_no_rollout_could_end_are_refused() {
    let refused = refusals(|resource| {
        resource["spec"]["deployment"] = json!({
            "progressDeadlineSeconds": 60,
            "labels": {"taskqueue.dev/queue": "mine"},
            "annotations": {"deployment.kubernetes.io/revision": "1"},
        });
        resource["spec"]["queues"][0]["deployment"] = json!({
            "minReadySeconds": 60,
            "strategy": {"rollingUpdate": {"maxSurge": "0%"}},
        });
        resource["spec"]["queues"][1]["deployment"] = json!({
            "revisionHistoryLimit": 101,
            "strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}},
        });
    });
    assert_eq!(
        refused,
        [
            "spec.deployment.labels[taskqueue.dev/queue]: must not start with taskqueue.dev/, \
             which is reserved for the operator",
            "spec.deployment.annotations[deployment.kubernetes.io/revision]: must not start with \
             deployment.kubernetes.io/, which Kubernetes sets itself",
            "spec.queues[one].deployment.strategy.rollingUpdate.maxUnavailable: must be at least \
             1 with maxSurge 0, or no pod could ever be replaced",
            "spec.queues[two].deployment.revisionHistoryLimit: must be at most 100",
            "spec.queues[two].deployment.strategy.rollingUpdate: must not be set with type \
             Recreate, which ends all old pods first",
            "spec.queues[one].deployment.progressDeadlineSeconds: is 60 and must be greater than \
             minReadySeconds; a queue takes unset fields from spec.deployment",
        ]
    );
}

#[test]
fn an_annotation_pauses_every_queue_unless_it_is_false() {
    let modes = |annotation: Option<&str>| {
        let fleet = validate(&worker(|resource| {
            if let Some(value) = annotation {
                resource["metadata"]["annotations"] = json!({"taskqueue.dev/paused": value});
            }
            resource["spec"]["queues"][1]["scaling"] = json!({"mode": "DryRun"});
        }));
        let fleet = fleet.unwrap();
        let modes = fleet.queues.iter().map(|queue| queue.policy.mode);
        (fleet.paused, modes.collect::<Vec<_>>())
    };
    let running = (false, vec![Mode::Active, Mode::DryRun]);
    assert_eq!(modes(None), running);
    assert_eq!(modes(Some("false")), running);
    for value in ["true", "", "yes"] {
        assert_eq!(modes(Some(value)), (true, vec![Mode::Paused, Mode::Paused]));
    }
}
