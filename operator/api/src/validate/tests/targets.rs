//! Fleets that scale what somebody else deploys.

use super::*;
use crate::fleet::WorkerPods;

#[test]
fn a_fleet_of_targets_needs_no_template_and_has_no_pods_of_its_own() {
    let fleet = validate(&worker(|resource| {
        let spec = resource["spec"].as_object_mut().unwrap();
        spec.remove("template");
        spec["queues"] = json!([
            {"name": "one", "replicas": {"max": 2}, "scaleTargetRef": {"name": "worker"}},
            {"name": "two", "replicas": {"max": 2}, "scaleTargetRef":
                {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "worker"}},
        ]);
    }))
    .unwrap();
    let [one, two] = [&fleet.queues[0], &fleet.queues[1]];
    assert_eq!(
        (&*one.workload_name, one.workload()),
        ("worker", "Deployment worker".to_owned())
    );
    assert_eq!(one.deployment(), Some("worker"));
    assert_eq!(
        (two.workload(), two.deployment()),
        ("Rollout worker".to_owned(), None)
    );
    let target = two.target.as_ref().unwrap();
    assert_eq!(
        (&*target.group, &*target.version),
        ("argoproj.io", "v1alpha1")
    );
    assert_eq!(two.pods, WorkerPods::default());
}

#[test]
fn targets_that_the_schema_would_refuse_are_findings() {
    let refused = refusals(|resource| {
        let queues = &mut resource["spec"]["queues"];
        queues[0]["scaleTargetRef"] = json!({"name": "worker"});
        queues[0]["env"] = json!([{"name": "A", "value": "1"}]);
        // Another version of the same API shows the same object.
        queues[1]["scaleTargetRef"] = json!({"apiVersion": "apps/v1beta2", "name": "worker"});
    });
    assert_eq!(
        refused,
        [
            "spec.queues[two].scaleTargetRef: queue one scales the same workload, so each would \
             undo what the other does",
            "spec.queues[one].scaleTargetRef: must not be set together with env: somebody else \
             deploys the pods",
        ]
    );
    let path = refusals(|resource| {
        resource["spec"]["queues"][0]["scaleTargetRef"] = json!({"name": "../secrets"});
    });
    assert_eq!(path.len(), 1, "{path:?}");
    let without = refusals(|resource| {
        resource["spec"].as_object_mut().unwrap().remove("template");
        resource["spec"]["queues"][0]["scaleTargetRef"] = json!({"name": "worker"});
    });
    assert_eq!(
        without,
        ["spec.template: is needed by each queue without scaleTargetRef"]
    );
}
