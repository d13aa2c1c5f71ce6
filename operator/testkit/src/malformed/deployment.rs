//! Mistakes in the settings of Deployments.

use crate::malformed::mistake::Mistake;

/// In `spec.deployment` and `spec.queues[0].deployment`.
pub(super) const DEPLOYMENTS: &[Mistake] = &[
    (
        "a strategy that does not exist",
        &[("/spec/deployment", r#"{"strategy": {"type": "BlueGreen"}}"#)],
        &[
            "spec.deployment.strategy.type",
            r#"supported values: "RollingUpdate", "Recreate""#,
        ],
    ),
    (
        "steps of a strategy that has none",
        &[(
            "/spec/deployment",
            r#"{"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}"#,
        )],
        &[
            "spec.deployment.strategy.rollingUpdate",
            "must not be set with type Recreate",
        ],
    ),
    (
        "a rolling update that may replace no pod",
        &[(
            "/spec/queues/0/deployment",
            r#"{"strategy": {"rollingUpdate": {"maxSurge": 0}}}"#,
        )],
        &[
            "spec.queues[0].deployment.strategy.rollingUpdate.maxUnavailable",
            "maxSurge 0 needs a maxUnavailable of at least 1",
        ],
    ),
    (
        "a rolling update that may replace no percentage of the pods",
        &[(
            "/spec/deployment",
            r#"{"strategy": {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}}}"#,
        )],
        &[
            "spec.deployment.strategy.rollingUpdate.maxUnavailable",
            "maxSurge 0 needs a maxUnavailable of at least 1",
        ],
    ),
    (
        "a surge that is no percentage",
        &[(
            "/spec/deployment",
            r#"{"strategy": {"rollingUpdate": {"maxSurge": "some"}}}"#,
        )],
        &[
            "spec.deployment.strategy.rollingUpdate.maxSurge",
            "should match",
        ],
    ),
    (
        "a deadline that passes before a pod is available",
        &[(
            "/spec/deployment",
            r#"{"minReadySeconds": 60, "progressDeadlineSeconds": 60}"#,
        )],
        &[
            "spec.deployment.progressDeadlineSeconds",
            "must be greater than minReadySeconds",
        ],
    ),
    (
        "a pod that must be ready for two hours",
        &[("/spec/deployment", r#"{"minReadySeconds": 7200}"#)],
        &[
            "spec.deployment.minReadySeconds",
            "less than or equal to 3600",
        ],
    ),
    (
        "a label of the operator on the Deployments",
        &[(
            "/spec/deployment",
            r#"{"labels": {"taskqueue.dev/worker": "mine"}}"#,
        )],
        &[
            "spec.deployment.labels",
            "must not start with taskqueue.dev/",
        ],
    ),
    (
        "a label of a Deployment that is no label",
        &[("/spec/deployment", r#"{"labels": {"team": "a team"}}"#)],
        &["spec.deployment.labels.team", "should match"],
    ),
    (
        "an annotation of the Deployment controller",
        &[(
            "/spec/queues/0/deployment",
            r#"{"annotations": {"deployment.kubernetes.io/revision": "7"}}"#,
        )],
        &[
            "spec.queues[0].deployment.annotations",
            "must not start with deployment.kubernetes.io/",
        ],
    ),
];
