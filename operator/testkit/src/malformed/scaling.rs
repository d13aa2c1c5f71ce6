//! Mistakes in the scaling of a `TaskQueueWorker`.

use crate::malformed::mistake::Mistake;

/// In `spec.scaling`, and in a queue's own.
pub(super) const SCALING: &[Mistake] = &[
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
        "a wait target that is too short",
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
            r#"{"behavior": {"scaleUp": {"policies": [
                {"type": "Pods", "value": 0, "periodSeconds": 15}
            ]}}}"#,
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
        "a schedule with an impossible hour",
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
        "a schedule in an unknown time zone",
        &[(
            "/spec/scaling",
            r#"{"schedule": [
                {"start": "0 8 * * *", "end": "0 9 * * *", "timeZone": "+01:00", "minReplicas": 1}
            ]}"#,
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
        "a forecast without a mode",
        &[("/spec/scaling", r#"{"forecast": {"timeZone": "UTC"}}"#)],
        &["spec.scaling.forecast.mode: Required value"],
    ),
    (
        "a forecast with a mode that does not exist",
        &[(
            "/spec/queues/0/scaling",
            r#"{"forecast": {"mode": "Active"}}"#,
        )],
        &[
            "spec.queues[0].scaling.forecast.mode",
            r#"supported values: "Enabled", "Disabled""#,
        ],
    ),
    (
        "a forecast in an unknown time zone",
        &[(
            "/spec/scaling",
            r#"{"forecast": {"mode": "Enabled", "timeZone": "+01:00"}}"#,
        )],
        &[
            "spec.scaling.forecast.timeZone",
            "timeZone must be an IANA name",
        ],
    ),
];
