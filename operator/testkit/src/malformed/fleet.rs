//! Mistakes in the fields of a whole fleet and of its pods.

use crate::malformed::mistake::Mistake;

/// In a `TaskQueueWorker`, except for its queues, its scaling and its connection.
pub(super) const FLEET: &[Mistake] = &[
    (
        "a name that is not a DNS label",
        &[("/metadata/name", r#""a.b""#)],
        &["metadata.name must be at most 63 lower-case letters"],
    ),
    (
        "no queues field",
        &[("/spec/queues", "null")],
        &["spec.queues: Required value"],
    ),
    (
        "an empty list of queues",
        &[("/spec/queues", "[]")],
        &["spec.queues", "at least 1 items"],
    ),
    (
        "no template",
        &[("/spec/template", "null")],
        &["spec.template: Required value"],
    ),
    (
        "a protection of pods that is no boolean",
        &[("/spec/drain", r#"{"protectBusyPods": "yes"}"#)],
        &["spec.drain.protectBusyPods"],
    ),
    (
        "a field that does not exist",
        &[("/spec/scalling", "{}")],
        &["unknown field", "spec.scalling"],
    ),
    (
        "a typo in the pod template",
        &[(
            "/spec/template/spec/containers/0/imagePulPolicy",
            r#""Always""#,
        )],
        &[
            "unknown field",
            "spec.template.spec.containers[0].imagePulPolicy",
        ],
    ),
    (
        "a wrong type in the pod template",
        &[("/spec/template/spec/nodeSelector", r#"["a"]"#)],
        &["spec.template.spec.nodeSelector"],
    ),
    (
        "a quantity with a unit that Kubernetes does not know",
        &[(
            "/spec/template/spec/containers/0/resources",
            r#"{"requests": {"memory": "512MB"}}"#,
        )],
        &[
            "spec.template.spec.containers[0].resources.requests.memory",
            "should match",
        ],
    ),
    (
        "a quantity that is not a number",
        &[(
            "/spec/template/spec/volumes/0/emptyDir",
            r#"{"sizeLimit": "a lot"}"#,
        )],
        &[
            "spec.template.spec.volumes[0].emptyDir.sizeLimit",
            "should match",
        ],
    ),
    (
        "no container named worker",
        &[("/spec/template/spec/containers/0/name", r#""main""#)],
        &[
            "spec.template.spec.containers",
            "containers must have one named worker",
        ],
    ),
    (
        "two containers named worker",
        &[("/spec/template/spec/containers/1/name", r#""worker""#)],
        &["spec.template.spec.containers[1]", "Duplicate value"],
    ),
    (
        "a variable twice in the template",
        &[(
            "/spec/template/spec/containers/0/env/-",
            r#"{"name": "A", "value": "2"}"#,
        )],
        &["spec.template.spec.containers[0].env[1]", "Duplicate value"],
    ),
    (
        "a variable of the operator in the template",
        &[(
            "/spec/template/spec/containers/0/env/-",
            r#"{"name": "TEMPORAL_ADDRESS", "value": "elsewhere:7233"}"#,
        )],
        &[
            "spec.template.spec.containers",
            "must not set the variables that the operator sets",
            "TEMPORAL_ADDRESS",
        ],
    ),
    (
        "a volume of the operator",
        &[(
            "/spec/template/spec/volumes/-",
            r#"{"name": "taskqueue-tls", "emptyDir": {}}"#,
        )],
        &["spec.template.spec.volumes", "taskqueue-tls"],
    ),
    (
        "a label of the operator",
        &[(
            "/spec/template/metadata/labels/taskqueue.dev~1queue",
            r#""mine""#,
        )],
        &[
            "spec.template.metadata.labels",
            "must not start with taskqueue.dev/",
        ],
    ),
    (
        "an annotation of the operator",
        &[(
            "/spec/template/metadata/annotations",
            r#"{"taskqueue.dev/x": "mine"}"#,
        )],
        &[
            "spec.template.metadata.annotations",
            "must not start with taskqueue.dev/",
        ],
    ),
    (
        "a host name",
        &[("/spec/template/spec/hostname", r#""worker-0""#)],
        &["spec.template.spec.hostname", "hostname must not be set"],
    ),
    (
        "a host name override",
        &[("/spec/template/spec/hostnameOverride", r#""worker-0""#)],
        &[
            "spec.template.spec.hostnameOverride",
            "hostnameOverride must not be set",
        ],
    ),
    (
        "the network of the node",
        &[("/spec/template/spec/hostNetwork", "true")],
        &[
            "spec.template.spec.hostNetwork",
            "hostNetwork must not be true",
        ],
    ),
    (
        "a full host name",
        &[("/spec/template/spec/setHostnameAsFQDN", "true")],
        &["spec.template.spec.setHostnameAsFQDN", "must not be true"],
    ),
    (
        "a termination grace period in the template",
        &[("/spec/template/spec/terminationGracePeriodSeconds", "30")],
        &[
            "spec.template.spec.terminationGracePeriodSeconds",
            "set drain.gracePeriod",
        ],
    ),
    (
        "a deadline for the pods",
        &[("/spec/template/spec/activeDeadlineSeconds", "30")],
        &[
            "spec.template.spec.activeDeadlineSeconds",
            "must not be set",
        ],
    ),
    (
        "pods that are not restarted",
        &[("/spec/template/spec/restartPolicy", r#""Never""#)],
        &[
            "spec.template.spec.restartPolicy",
            "restartPolicy must be Always",
        ],
    ),
    (
        "an empty disruption budget",
        &[("/spec/disruptionBudget", "{}")],
        &[
            "spec.disruptionBudget",
            "exactly one of maxUnavailable and minAvailable must be set",
        ],
    ),
    (
        "a disruption budget over 100 percent",
        &[("/spec/disruptionBudget", r#"{"maxUnavailable": "120%"}"#)],
        &["spec.disruptionBudget.maxUnavailable", "should match"],
    ),
    (
        "a drain grace period of zero",
        &[("/spec/drain", r#"{"gracePeriod": "0s"}"#)],
        &[
            "spec.drain.gracePeriod",
            "gracePeriod must be a duration such as 5s, 10m or 1h30m, from 1s to 24h",
        ],
    ),
    (
        "a drain grace period of two days",
        &[("/spec/drain", r#"{"gracePeriod": "48h"}"#)],
        &[
            "spec.drain.gracePeriod",
            "gracePeriod must be a duration such as 5s, 10m or 1h30m, from 1s to 24h",
        ],
    ),
];
