//! The SDK's options for a worker, from the settings of the environment. Pure.

use std::time::Duration;

use temporalio_common::worker::{WorkerDeploymentOptions, WorkerDeploymentVersion};
use temporalio_sdk::WorkerOptions;
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk::runtime::{AutoscalingOptions, PollerBehavior};

use crate::settings::WorkerSettings;

/// Longest delay until a heartbeat of an activity reaches the server. Cancellation and resuming
/// after a kill are delayed by up to the same time.
const HEARTBEAT_THROTTLE: Duration = Duration::from_secs(1);

/// How long a workflow task waits for the worker that has the workflow in its cache before any
/// worker may take it. If that worker was killed, this delays the workflow.
const STICKY_TIMEOUT: Duration = Duration::from_secs(2);

/// Applies the settings.
pub(crate) fn apply(settings: &WorkerSettings, options: &mut WorkerOptions) {
    let slots = FixedSizeSlotSupplier::new;
    let pollers = PollerBehavior::Autoscaling(
        AutoscalingOptions::builder()
            .minimum(2)
            .maximum(settings.max_pollers)
            .initial(settings.max_pollers.min(5))
            .build(),
    );
    let tuner = TunerHolder::builder()
        .workflow_task_slot_supplier(slots(settings.workflow_slots))
        .activity_task_slot_supplier(slots(settings.activity_slots))
        .local_activity_task_slot_supplier(slots(1))
        .nexus_task_slot_supplier(slots(1))
        .build();
    options.tuner = tuner.into();
    options.max_task_queue_activities_per_second =
        settings.queue_activities_per_second.map(f64::from);
    options.max_cached_workflows = settings.cached_workflows;
    options.workflow_task_poller_behavior = Some(pollers);
    options.activity_task_poller_behavior = Some(pollers);
    options.sticky_queue_schedule_to_start_timeout = STICKY_TIMEOUT;
    options.max_heartbeat_throttle_interval = HEARTBEAT_THROTTLE;
    options.default_heartbeat_throttle_interval = HEARTBEAT_THROTTLE;
}

/// Applies the deployment version, if one is set, and turns worker versioning on.
pub(crate) fn apply_deployment(settings: &WorkerSettings, options: &mut WorkerOptions) {
    let Some((name, build)) = settings.deployment.clone() else {
        return;
    };
    let version = WorkerDeploymentVersion::builder()
        .deployment_name(name)
        .build_id(build)
        .build();
    options.deployment_options = WorkerDeploymentOptions::new(version)
        .use_worker_versioning(true)
        .default_versioning_behavior(settings.versioning_behavior)
        .build();
}
