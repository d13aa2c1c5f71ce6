//! Mistakes in the queues of a `TaskQueueWorker`.

use crate::malformed::mistake::Mistake;

/// In `spec.queues`, except for their scaling.
pub(super) const QUEUES: &[Mistake] = &[
    (
        "two queues with the same name",
        &[("/spec/queues/1/name", r#""one""#)],
        &["spec.queues[1]", "Duplicate value"],
    ),
    (
        "a queue without a name",
        &[("/spec/queues/0/name", "null")],
        &["spec.queues[0].name: Required value"],
    ),
    (
        "a queue name with capitals",
        &[("/spec/queues/0/name", r#""Orders""#)],
        &["spec.queues[0].name"],
    ),
    (
        "a queue name of 64 characters",
        &[(
            "/spec/queues/0/name",
            r#""aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#,
        )],
        &["spec.queues[0].name", "63"],
    ),
    (
        "an internal task queue of Temporal",
        &[("/spec/queues/0/taskQueue", r#""/_sys/x""#)],
        &["spec.queues[0].taskQueue", "must not start with /_sys/"],
    ),
    (
        "an empty task queue",
        &[("/spec/queues/0/taskQueue", r#""""#)],
        &["spec.queues[0].taskQueue"],
    ),
    (
        "two queues that serve the same tasks",
        &[("/spec/queues/1/taskQueue", r#""one""#)],
        &[
            "spec.queues",
            "two queues must not serve the same taskQueue",
        ],
    ),
    (
        "a target and resources of its pods",
        &[
            ("/spec/queues/0/scaleTargetRef", r#"{"name": "worker"}"#),
            ("/spec/queues/0/resources", "{}"),
        ],
        &[
            "spec.queues[0].scaleTargetRef",
            "must not set template, deployment, resources, env",
        ],
    ),
    (
        "a target without a name",
        &[("/spec/queues/0/scaleTargetRef", r#"{"kind": "Deployment"}"#)],
        &["spec.queues[0].scaleTargetRef.name: Required value"],
    ),
    (
        "a target whose kind is a path",
        &[(
            "/spec/queues/0/scaleTargetRef",
            r#"{"kind": "Deployment/status", "name": "worker"}"#,
        )],
        &["spec.queues[0].scaleTargetRef.kind"],
    ),
    (
        "a target whose API has two slashes",
        &[(
            "/spec/queues/0/scaleTargetRef",
            r#"{"apiVersion": "apps/v1/x", "name": "worker"}"#,
        )],
        &["spec.queues[0].scaleTargetRef.apiVersion"],
    ),
    (
        "two queues with the same target",
        &[
            ("/spec/queues/0/scaleTargetRef", r#"{"name": "worker"}"#),
            (
                "/spec/queues/1/scaleTargetRef",
                r#"{"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker"}"#,
            ),
        ],
        &["spec.queues", "two queues must not scale the same workload"],
    ),
    (
        "a target beside a queue that needs the missing template",
        &[
            ("/spec/queues/0/scaleTargetRef", r#"{"name": "worker"}"#),
            ("/spec/template", "null"),
        ],
        &[
            "spec.template: Required value",
            "each queue without scaleTargetRef",
        ],
    ),
    (
        "a queue without replicas",
        &[("/spec/queues/0/replicas", "null")],
        &["spec.queues[0].replicas: Required value"],
    ),
    (
        "replicas without a maximum",
        &[("/spec/queues/0/replicas/max", "null")],
        &["spec.queues[0].replicas.max: Required value"],
    ),
    (
        "a minimum over the maximum",
        &[("/spec/queues/0/replicas/min", "3")],
        &[
            "spec.queues[0].replicas.min",
            "replicas.min must not be greater than replicas.max",
        ],
    ),
    (
        "a negative minimum",
        &[("/spec/queues/0/replicas/min", "-1")],
        &["spec.queues[0].replicas.min", "greater than or equal to 0"],
    ),
    (
        "a maximum that is too large",
        &[("/spec/queues/0/replicas/max", "1001")],
        &["spec.queues[0].replicas.max", "less than or equal to 1000"],
    ),
    (
        "a task type that does not exist",
        &[("/spec/queues/1/taskTypes", r#"["Query"]"#)],
        &[
            "spec.queues[1].taskTypes[0]",
            r#"supported values: "Workflow", "Activity", "Nexus""#,
        ],
    ),
    (
        "a task type twice",
        &[("/spec/queues/1/taskTypes", r#"["Activity", "Activity"]"#)],
        &["spec.queues[1].taskTypes[1]", "Duplicate value"],
    ),
    (
        "no task type at all",
        &[("/spec/queues/1/taskTypes", "[]")],
        &["spec.queues[1].taskTypes", "at least 1 items"],
    ),
    (
        "a variable of the operator in a queue",
        &[(
            "/spec/queues/0/env",
            r#"[{"name": "TEMPORAL_TASK_QUEUE", "value": "x"}]"#,
        )],
        &[
            "spec.queues[0].env",
            "env must not set the variables that the operator sets",
            "TEMPORAL_TASK_QUEUE",
        ],
    ),
    (
        "a variable twice in a queue",
        &[(
            "/spec/queues/0/env",
            r#"[{"name": "B", "value": "1"}, {"name": "B", "value": "2"}]"#,
        )],
        &["spec.queues[0].env[1]", "Duplicate value"],
    ),
    (
        "a typo in a queue's resources",
        &[("/spec/queues/0/resources", r#"{"request": {"cpu": "1"}}"#)],
        &["unknown field", "spec.queues[0].resources.request"],
    ),
];
