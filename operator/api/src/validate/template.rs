//! Merges the partial pod template of a queue over the one of its fleet. Pure.
//!
//! The merge is the strategic one of Kubernetes, whose keys and list types `k8s-openapi` knows,
//! with one difference: where only one of several fields may be set (the source of a volume, the
//! value of a variable, the action of a probe or a hook), the queue's replaces the fleet's instead
//! of joining it, since both together would be refused.

use k8s_openapi::DeepMerge as _;
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec, Probe, Volume};

/// The template of the fleet with the queue's merged over it. Items keep the places that they have
/// in the fleet's lists, and others follow them.
pub(super) fn merge(fleet: &PodTemplateSpec, queue: &PodTemplateSpec) -> PodTemplateSpec {
    let mut merged = fleet.clone();
    let mut changes = queue.clone();
    if let (Some(pod), Some(changes)) = (&mut merged.spec, &mut changes.spec) {
        make_room(pod, changes);
    }
    merged.merge_from(changes);
    merged
}

/// Clears the fields of `pod` that those of `changes` replace.
fn make_room(pod: &mut PodSpec, changes: &mut PodSpec) {
    for volume in changes.volumes.iter().flatten() {
        let bare = Volume {
            name: volume.name.clone(),
            ..Volume::default()
        };
        if *volume == bare {
            continue;
        }
        for replaced in named(&mut pod.volumes, |replaced| replaced.name == volume.name) {
            *replaced = bare.clone();
        }
    }
    for change in &changes.containers {
        let containers = pod.containers.iter_mut();
        containers
            .filter(|container| container.name == change.name)
            .for_each(|container| make_room_in(container, change));
    }
    for change in changes.init_containers.iter().flatten() {
        named(&mut pod.init_containers, |container| {
            container.name == change.name
        })
        .for_each(|container| make_room_in(container, change));
    }
    // The type says that it is replaced as a whole, which holds for server-side apply only.
    if let (Some(all), Some(changes)) = (&pod.node_selector, &mut changes.node_selector) {
        for (label, value) in all {
            changes
                .entry(label.clone())
                .or_insert_with(|| value.clone());
        }
    }
}

fn make_room_in(container: &mut Container, change: &Container) {
    for variable in change.env.iter().flatten() {
        for replaced in named(&mut container.env, |replaced| {
            replaced.name == variable.name
        }) {
            *replaced = EnvVar {
                name: variable.name.clone(),
                ..EnvVar::default()
            };
        }
    }
    for (probe, change) in [
        (&mut container.liveness_probe, &change.liveness_probe),
        (&mut container.readiness_probe, &change.readiness_probe),
        (&mut container.startup_probe, &change.startup_probe),
    ] {
        if let (Some(probe), Some(change)) = (probe, change)
            && acts(change)
        {
            probe.exec = None;
            probe.grpc = None;
            probe.http_get = None;
            probe.tcp_socket = None;
        }
    }
    if let (Some(hooks), Some(change)) = (&mut container.lifecycle, &change.lifecycle) {
        if change.post_start.is_some() {
            hooks.post_start = None;
        }
        if change.pre_stop.is_some() {
            hooks.pre_stop = None;
        }
    }
}

/// Whether a probe says what it does, and not only when.
fn acts(probe: &Probe) -> bool {
    probe.exec.is_some()
        || probe.grpc.is_some()
        || probe.http_get.is_some()
        || probe.tcp_socket.is_some()
}

/// The items of a list that may be missing for which `is` holds.
fn named<'a, T>(
    list: &'a mut Option<Vec<T>>,
    is: impl Fn(&T) -> bool + 'a,
) -> impl Iterator<Item = &'a mut T> {
    list.iter_mut().flatten().filter(move |item| is(item))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn merged(fleet: &Value, queue: &Value) -> Value {
        let template = |spec: &Value| -> PodTemplateSpec {
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        let merged = merge(&template(fleet), &template(queue));
        serde_json::to_value(merged).unwrap()["spec"].clone()
    }

    /// The container `worker` of a fleet and of a queue, merged.
    fn worker(fleet: Value, queue: Value) -> Value {
        let pod = |mut container: Value| {
            container["name"] = json!("worker");
            json!({"containers": [container]})
        };
        let mut worker = merged(&pod(fleet), &pod(queue))["containers"][0].take();
        worker.as_object_mut().unwrap().remove("name");
        worker
    }

    #[test]
    fn fields_are_overridden_and_the_others_stay() {
        assert_eq!(
            worker(
                json!({"image": "a", "command": ["run"], "args": ["x", "y"], "workingDir": "/"}),
                json!({"image": "b", "args": ["z"]}),
            ),
            json!({"image": "b", "command": ["run"], "args": ["z"], "workingDir": "/"})
        );
    }

    #[test]
    fn lists_are_merged_by_key_in_the_order_of_the_fleet() {
        let fleet = json!({
            "initContainers": [{"name": "fetch", "image": "f:1"}],
            "containers": [{"name": "a", "image": "a:1"}, {"name": "worker", "image": "w:1"}],
            "imagePullSecrets": [{"name": "one"}],
        });
        let queue = json!({
            "initContainers": [{"name": "more", "image": "m:1"}, {"name": "fetch", "image": "f:2"}],
            "containers": [{"name": "worker", "image": "w:2"}, {"name": "b", "image": "b:1"}],
            "imagePullSecrets": [{"name": "two"}],
        });
        assert_eq!(
            merged(&fleet, &queue),
            json!({
                "initContainers": [
                    {"name": "fetch", "image": "f:2"}, {"name": "more", "image": "m:1"},
                ],
                "containers": [
                    {"name": "a", "image": "a:1"}, {"name": "worker", "image": "w:2"},
                    {"name": "b", "image": "b:1"},
                ],
                "imagePullSecrets": [{"name": "one"}, {"name": "two"}],
            })
        );
    }

    #[test]
    fn a_list_without_keys_is_replaced() {
        let tolerations = |key: &str| json!({"containers": [], "tolerations": [{"key": key}]});
        assert_eq!(
            merged(&tolerations("a"), &tolerations("b")),
            tolerations("b")
        );
    }

    #[test]
    fn maps_are_merged_by_key() {
        let pod = |selector: Value| json!({"containers": [], "nodeSelector": selector});
        assert_eq!(
            merged(
                &pod(json!({"zone": "a", "disk": "ssd"})),
                &pod(json!({"zone": "b", "gpu": "yes"})),
            ),
            pod(json!({"zone": "b", "disk": "ssd", "gpu": "yes"}))
        );
        let resources = |limits: Value| json!({"resources": {"limits": limits}});
        assert_eq!(
            worker(
                resources(json!({"cpu": "1", "memory": "1Gi"})),
                resources(json!({"memory": "2Gi"})),
            ),
            resources(json!({"cpu": "1", "memory": "2Gi"}))
        );
    }

    #[test]
    fn of_alternatives_the_queues_stands_alone() {
        let volumes = |volumes: Value| json!({"containers": [], "volumes": volumes});
        let cache = json!({"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}});
        let claim = json!({"name": "cache", "persistentVolumeClaim": {"claimName": "big"}});
        let other = json!({"name": "other", "emptyDir": {}});
        assert_eq!(
            merged(&volumes(json!([cache, other])), &volumes(json!([claim]))),
            volumes(json!([claim, other]))
        );
        let named = json!([{"name": "cache"}]);
        assert_eq!(
            merged(&volumes(json!([cache])), &volumes(named)),
            volumes(json!([cache]))
        );
        let from = json!({"secretKeyRef": {"name": "s", "key": "k"}});
        assert_eq!(
            worker(
                json!({
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "readinessProbe": {
                        "httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1,
                    },
                    "livenessProbe": {"httpGet": {"path": "/livez", "port": 8080}},
                    "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
                }),
                json!({
                    "env": [{"name": "A", "valueFrom": from}],
                    "readinessProbe": {"exec": {"command": ["ready"]}},
                    "livenessProbe": {"periodSeconds": 5},
                    "lifecycle": {"preStop": {"exec": {"command": ["stop"]}}},
                }),
            ),
            json!({
                "env": [{"name": "A", "valueFrom": from}, {"name": "B", "value": "2"}],
                "readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 1},
                "livenessProbe": {"httpGet": {"path": "/livez", "port": 8080}, "periodSeconds": 5},
                "lifecycle": {"preStop": {"exec": {"command": ["stop"]}}},
            })
        );
    }
}
