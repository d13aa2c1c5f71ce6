//! Mistakes in a `TaskQueueWorker` that the API server refuses. Data for tests.

use super::Mistake;

pub(super) const WORKERS: &[Mistake] = &[
    (
        "a name that is no label",
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
        "neither form of the connection",
        &[("/spec/connection", "null")],
        &[
            "spec.connection",
            "exactly one of connection and connectionRef must be set",
        ],
    ),
    (
        "both forms of the connection",
        &[("/spec/connectionRef", r#"{"name": "shared"}"#)],
        &[
            "spec.connection",
            "exactly one of connection and connectionRef must be set",
        ],
    ),
    (
        "an address with a scheme",
        &[("/spec/connection/address", r#""http://temporal:7233""#)],
        &[
            "spec.connection.address",
            "address must be host:port without a scheme",
        ],
    ),
    (
        "an address without a port",
        &[("/spec/connection/address", r#""temporal""#)],
        &[
            "spec.connection.address",
            "address must be host:port without a scheme",
        ],
    ),
    (
        "an API key without TLS",
        &[(
            "/spec/connection/apiKeySecretRef",
            r#"{"name": "key", "key": "key"}"#,
        )],
        &[
            "spec.connection.apiKeySecretRef",
            "apiKeySecretRef needs tls",
        ],
    ),
    (
        "an API key without the key of the Secret",
        &[
            ("/spec/connection/tls", "{}"),
            ("/spec/connection/apiKeySecretRef", r#"{"name": "key"}"#),
        ],
        &["spec.connection.apiKeySecretRef.key: Required value"],
    ),
    (
        "an empty Temporal namespace",
        &[("/spec/connection/temporalNamespace", r#""""#)],
        &["spec.connection.temporalNamespace"],
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
        "a termination grace of the user's own",
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
        "two queues of one name",
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
        "a task queue of Temporal's own",
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
        "a maximum beyond reason",
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
    (
        "a duration without a unit",
        &[("/spec/scaling", r#"{"queueWaitTarget": "10"}"#)],
        &[
            "spec.scaling.queueWaitTarget",
            "must be a duration such as 5s",
        ],
    ),
    (
        "a duration as a number",
        &[("/spec/scaling", r#"{"cooldownPeriod": 60}"#)],
        &["spec.scaling.cooldownPeriod", "must be of type string"],
    ),
    (
        "a wait target that nothing could keep",
        &[("/spec/scaling", r#"{"queueWaitTarget": "100ms"}"#)],
        &[
            "spec.scaling.queueWaitTarget",
            "queueWaitTarget must be a duration such as 5s, 10m or 1h30m, from 500ms to 24h",
        ],
    ),
    (
        "a utilization over 100 percent",
        &[("/spec/scaling", r#"{"targetUtilization": 101}"#)],
        &[
            "spec.scaling.targetUtilization",
            "less than or equal to 100",
        ],
    ),
    (
        "no slots at all",
        &[("/spec/scaling", r#"{"slotsPerReplica": 0}"#)],
        &["spec.scaling.slotsPerReplica", "greater than or equal to 1"],
    ),
    (
        "polling too often",
        &[("/spec/scaling", r#"{"pollingInterval": "100ms"}"#)],
        &[
            "spec.scaling.pollingInterval",
            "pollingInterval must be a duration such as 5s, 10m or 1h30m, from 1s to 5m",
        ],
    ),
    (
        "a cooldown shorter than the polling interval",
        &[(
            "/spec/scaling",
            r#"{"cooldownPeriod": "5s", "pollingInterval": "10s"}"#,
        )],
        &[
            "spec.scaling.cooldownPeriod",
            "must not be shorter than scaling.pollingInterval",
        ],
    ),
    (
        "a quiet queue polled more often than a busy one",
        &[(
            "/spec/scaling",
            r#"{"quietPollingInterval": "5s", "pollingInterval": "10s"}"#,
        )],
        &[
            "spec.scaling.quietPollingInterval",
            "must not be shorter than scaling.pollingInterval",
        ],
    ),
    (
        "a queue whose cooldown is shorter than the fleet's polling interval",
        &[("/spec/queues/0/scaling", r#"{"cooldownPeriod": "2s"}"#)],
        &[
            "spec.queues",
            "cooldownPeriod must not be shorter than pollingInterval",
        ],
    ),
    (
        "a queue polled less often than the fleet's quiet ones",
        &[("/spec/queues/0/scaling", r#"{"pollingInterval": "50s"}"#)],
        &[
            "spec.queues",
            "quietPollingInterval must not be shorter than pollingInterval",
        ],
    ),
    (
        "a disruption budget that says nothing",
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
        "a metrics port of zero",
        &[("/spec/scaling", r#"{"metricsPort": 0}"#)],
        &["spec.scaling.metricsPort", "greater than or equal to 1"],
    ),
    (
        "a mode that does not exist",
        &[("/spec/scaling", r#"{"mode": "Off"}"#)],
        &[
            "spec.scaling.mode",
            r#"supported values: "Active", "DryRun", "Paused""#,
        ],
    ),
    (
        "a stabilization window over an hour",
        &[(
            "/spec/scaling",
            r#"{"behavior": {"scaleDown": {"stabilizationWindowSeconds": 3601}}}"#,
        )],
        &[
            "spec.scaling.behavior.scaleDown.stabilizationWindowSeconds",
            "3600",
        ],
    ),
    (
        "a policy without a period",
        &[(
            "/spec/scaling",
            r#"{"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1}]}}}"#,
        )],
        &["spec.scaling.behavior.scaleUp.policies[0].periodSeconds: Required value"],
    ),
    (
        "a policy that allows nothing",
        &[(
            "/spec/scaling",
            r#"{"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 15}]}}}"#,
        )],
        &[
            "spec.scaling.behavior.scaleUp.policies[0].value",
            "greater than or equal to 1",
        ],
    ),
    (
        "a tolerance in percent",
        &[(
            "/spec/scaling",
            r#"{"behavior": {"scaleUp": {"tolerance": "10%"}}}"#,
        )],
        &["spec.scaling.behavior.scaleUp.tolerance"],
    ),
    (
        "a fallback without replicas",
        &[("/spec/scaling", r#"{"fallback": {"failureThreshold": 3}}"#)],
        &["spec.scaling.fallback.replicas: Required value"],
    ),
    (
        "a schedule with too few fields",
        &[(
            "/spec/scaling",
            r#"{"schedule": [{"start": "0 8 * MON-FRI", "end": "0 18 * * *", "minReplicas": 1}]}"#,
        )],
        &[
            "spec.scaling.schedule[0].start",
            "start must be a cron expression of five fields",
        ],
    ),
    (
        "a schedule with an hour that no day has",
        &[(
            "/spec/scaling",
            r#"{"schedule": [{"start": "0 8 * * *", "end": "0 24 * * *", "minReplicas": 1}]}"#,
        )],
        &[
            "spec.scaling.schedule[0].end",
            "end must be a cron expression of five fields",
        ],
    ),
    (
        "a schedule that ends when it starts",
        &[(
            "/spec/scaling",
            r#"{"schedule": [{"start": "0 8 * * *", "end": "0 8 * * *", "minReplicas": 1}]}"#,
        )],
        &[
            "spec.scaling.schedule[0].end",
            "the window would never open",
        ],
    ),
    (
        "a schedule in a time zone that is no name",
        &[(
            "/spec/scaling",
            r#"{"schedule": [{"start": "0 8 * * *", "end": "0 9 * * *", "timeZone": "+01:00", "minReplicas": 1}]}"#,
        )],
        &[
            "spec.scaling.schedule[0].timeZone",
            "timeZone must be an IANA name",
        ],
    ),
    (
        "a schedule without replicas",
        &[(
            "/spec/queues/0/scaling",
            r#"{"schedule": [{"start": "0 8 * * *", "end": "0 9 * * *"}]}"#,
        )],
        &["spec.queues[0].scaling.schedule[0].minReplicas: Required value"],
    ),
    (
        "a drain grace of nothing",
        &[("/spec/drain", r#"{"gracePeriod": "0s"}"#)],
        &[
            "spec.drain.gracePeriod",
            "gracePeriod must be a duration such as 5s, 10m or 1h30m, from 1s to 24h",
        ],
    ),
    (
        "a drain grace of two days",
        &[("/spec/drain", r#"{"gracePeriod": "48h"}"#)],
        &[
            "spec.drain.gracePeriod",
            "gracePeriod must be a duration such as 5s, 10m or 1h30m, from 1s to 24h",
        ],
    ),
];
