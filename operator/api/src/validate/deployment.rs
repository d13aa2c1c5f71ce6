//! Resolves the settings of a queue's Deployment: its own, else the fleet's, else the defaults.
//! Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::deployment::{DeploymentSettingsSpec, StrategySpec, StrategyType};
use crate::fleet::{DeploymentSettings, Strategy, is_zero};
use crate::validate::counts;
use crate::validate::findings::Findings;
use crate::validate::pods;
use crate::well_known::{
    DEPLOYMENT_CONTROLLER_PREFIX, PROGRESS_DEADLINE_SECONDS, TERMINATION_MARGIN_SECONDS,
};
use crate::worker::{QueueSpec, TaskQueueWorkerSpec};

/// Checks the settings of the fleet and of each queue, each in its place.
pub(super) fn check(spec: &TaskQueueWorkerSpec, findings: &mut Findings) {
    let queues = spec.queues.iter().filter_map(|queue| {
        let path = format!("spec.queues[{}].deployment", queue.name);
        Some((path, queue.deployment.as_ref()?))
    });
    let fleet = spec.deployment.as_ref();
    let fleet = fleet.map(|settings| ("spec.deployment".to_owned(), settings));
    for (path, settings) in fleet.into_iter().chain(queues) {
        check_one(settings, &path, findings);
    }
}

fn check_one(settings: &DeploymentSettingsSpec, path: &str, findings: &mut Findings) {
    for (kind, map) in [
        ("labels", &settings.labels),
        ("annotations", &settings.annotations),
    ] {
        pods::check_keys(map.iter(), &format!("{path}.{kind}"), findings);
    }
    let controllers = settings.annotations.keys();
    for key in controllers.filter(|key| key.starts_with(DEPLOYMENT_CONTROLLER_PREFIX)) {
        findings.add(
            format!("{path}.annotations[{key}]"),
            format!(
                "must not start with {DEPLOYMENT_CONTROLLER_PREFIX}, which Kubernetes sets itself"
            ),
        );
    }
    for (field, value, most) in [
        ("minReadySeconds", settings.min_ready_seconds, 3600),
        (
            "progressDeadlineSeconds",
            settings.progress_deadline_seconds,
            172_800,
        ),
        ("revisionHistoryLimit", settings.revision_history_limit, 100),
    ] {
        if value.is_some_and(|value| value > most) {
            findings.add(format!("{path}.{field}"), format!("must be at most {most}"));
        }
    }
    if let Some(strategy) = &settings.strategy {
        check_strategy(strategy, &format!("{path}.strategy"), findings);
    }
}

fn check_strategy(spec: &StrategySpec, path: &str, findings: &mut Findings) {
    let Some(update) = &spec.rolling_update else {
        return;
    };
    let path = format!("{path}.rollingUpdate");
    if spec.kind == StrategyType::Recreate {
        findings.add(
            path,
            "must not be set with type Recreate, which ends all old pods first",
        );
        return;
    }
    for (field, value) in [
        ("maxSurge", &update.max_surge),
        ("maxUnavailable", &update.max_unavailable),
    ] {
        if let Some(value) = value {
            counts::check(value, format!("{path}.{field}"), findings);
        }
    }
    if let Strategy::RollingUpdate {
        max_surge,
        max_unavailable,
    } = strategy_of(spec)
        && is_zero(&max_surge)
        && is_zero(&max_unavailable)
    {
        findings.add(
            format!("{path}.maxUnavailable"),
            "must be at least 1 with maxSurge 0, or no pod could ever be replaced",
        );
    }
}

/// The settings of a queue's Deployment. `grace_seconds`: how long a draining worker may take.
pub(super) fn resolve(
    spec: &TaskQueueWorkerSpec,
    queue: &QueueSpec,
    grace_seconds: u32,
    findings: &mut Findings,
) -> DeploymentSettings {
    let nothing = DeploymentSettingsSpec::default();
    let fleet = spec.deployment.as_ref().unwrap_or(&nothing);
    let own = queue.deployment.as_ref().unwrap_or(&nothing);
    let strategy = own.strategy.as_ref().or(fleet.strategy.as_ref());
    let strategy = strategy.map(strategy_of).unwrap_or_default();
    let min_ready = own.min_ready_seconds.or(fleet.min_ready_seconds);
    let deadline = own
        .progress_deadline_seconds
        .or(fleet.progress_deadline_seconds);
    let history = own.revision_history_limit.or(fleet.revision_history_limit);
    // A new pod may have to wait for the room of one that drains.
    let waits = grace_seconds
        .saturating_add(TERMINATION_MARGIN_SECONDS)
        .saturating_add(PROGRESS_DEADLINE_SECONDS);
    let deadline = deadline.or_else(|| (!strategy.surges()).then_some(waits));
    let in_effect = deadline.unwrap_or(PROGRESS_DEADLINE_SECONDS);
    if min_ready.unwrap_or(0) >= in_effect {
        findings.add(
            format!(
                "spec.queues[{}].deployment.progressDeadlineSeconds",
                queue.name
            ),
            format!(
                "is {in_effect} and must be greater than minReadySeconds; a queue takes unset \
                     fields from spec.deployment"
            ),
        );
    }
    DeploymentSettings {
        strategy,
        min_ready_seconds: min_ready.map(to_i32),
        progress_deadline_seconds: deadline.map(to_i32),
        revision_history_limit: history.map(to_i32),
        labels: both(&fleet.labels, &own.labels),
        annotations: both(&fleet.annotations, &own.annotations),
    }
}

/// The strategy with its defaults filled in.
fn strategy_of(spec: &StrategySpec) -> Strategy {
    if spec.kind == StrategyType::Recreate {
        return Strategy::Recreate;
    }
    let update = spec.rolling_update.clone().unwrap_or_default();
    Strategy::RollingUpdate {
        max_surge: update.max_surge.unwrap_or_else(Strategy::default_surge),
        max_unavailable: update.max_unavailable.unwrap_or(IntOrString::Int(0)),
    }
}

fn to_i32(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn both(
    fleet: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut both = fleet.clone();
    both.extend(own.clone());
    both
}
