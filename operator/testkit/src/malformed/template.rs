//! Mistakes in the pod template of a queue.

use crate::malformed::mistake::Mistake;

/// In `spec.queues[0].template`.
pub(super) const TEMPLATES: &[Mistake] = &[
    (
        "a typo in the template of a queue",
        &[(
            "/spec/queues/0/template",
            r#"{"spec": {"containers": [{"name": "worker", "imagee": "w:2"}]}}"#,
        )],
        &[
            "unknown field",
            "spec.queues[0].template.spec.containers[0].imagee",
        ],
    ),
    (
        "a container twice in the template of a queue",
        &[(
            "/spec/queues/0/template",
            r#"{"spec": {"containers": [{"name": "worker"}, {"name": "worker"}]}}"#,
        )],
        &[
            "spec.queues[0].template.spec.containers[1]",
            "Duplicate value",
        ],
    ),
    (
        "a variable of the operator in the template of a queue",
        &[(
            "/spec/queues/0/template",
            r#"{"spec": {"containers": [
                {"name": "worker", "env": [{"name": "TEMPORAL_ADDRESS"}]}
            ]}}"#,
        )],
        &[
            "spec.queues[0].template.spec.containers",
            "must not set the variables that the operator sets",
        ],
    ),
    (
        "a quantity with an unknown unit in the template of a queue",
        &[(
            "/spec/queues/0/template",
            r#"{"spec": {"containers": [
                {"name": "worker", "resources": {"limits": {"memory": "1GB"}}}
            ]}}"#,
        )],
        &[
            "spec.queues[0].template.spec.containers[0].resources.limits.memory",
            "should match",
        ],
    ),
    (
        "a volume of the operator in the template of a queue",
        &[(
            "/spec/queues/0/template",
            r#"{"spec": {"volumes": [{"name": "taskqueue-tls", "emptyDir": {}}]}}"#,
        )],
        &["spec.queues[0].template.spec.volumes", "taskqueue-tls"],
    ),
    (
        "a label of the operator in the template of a queue",
        &[(
            "/spec/queues/0/template",
            r#"{"metadata": {"labels": {"taskqueue.dev/queue": "mine"}}}"#,
        )],
        &[
            "spec.queues[0].template.metadata.labels",
            "must not start with taskqueue.dev/",
        ],
    ),
    (
        "a termination grace period in the template of a queue",
        &[(
            "/spec/queues/0/template",
            r#"{"spec": {"terminationGracePeriodSeconds": 5}}"#,
        )],
        &[
            "spec.queues[0].template.spec.terminationGracePeriodSeconds",
            "set drain.gracePeriod",
        ],
    ),
    (
        "a host name in the template of a queue",
        &[(
            "/spec/queues/0/template",
            r#"{"spec": {"hostname": "worker-0"}}"#,
        )],
        &[
            "spec.queues[0].template.spec.hostname",
            "hostname must not be set",
        ],
    ),
    (
        "11 containers in the template of a queue",
        &[(
            "/spec/queues/0/template",
            r#"{"spec": {"containers": [
                {"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}, {"name": "e"},
                {"name": "f"}, {"name": "g"}, {"name": "h"}, {"name": "i"}, {"name": "j"},
                {"name": "k"}]}}"#,
        )],
        &[
            "spec.queues[0].template.spec.containers",
            "at most 10 items",
        ],
    ),
];
