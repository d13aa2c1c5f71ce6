//! The slots that a worker reports when it takes no more tasks. Pure.
//!
//! The SDK reports the free slots of a worker until its last activity has ended, and the status
//! `Running` until it is asked to stop, which is only after its polls have returned. Who sums up
//! the slots of a process would count the free slots of the old worker beside those of the new one.
//! Upstream: where `WorkerHeartbeat` is filled (sdk-core/src/worker/mod.rs).

use temporalio_common::protos::temporal::api::enums::v1::WorkerStatus;
use temporalio_common::protos::temporal::api::workflowservice::v1::RecordWorkerHeartbeatRequest;

/// Reports no free slots, and that the worker shuts down.
pub(super) fn without_room(request: &mut RecordWorkerHeartbeatRequest) {
    for worker in &mut request.worker_heartbeat {
        if worker.status == WorkerStatus::Running as i32 {
            worker.status = WorkerStatus::ShuttingDown as i32;
        }
        let slots = [
            &mut worker.workflow_task_slots_info,
            &mut worker.activity_task_slots_info,
            &mut worker.nexus_task_slots_info,
            &mut worker.local_activity_slots_info,
        ];
        for slots in slots.into_iter().flatten() {
            slots.current_available_slots = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use temporalio_common::protos::temporal::api::worker::v1::{WorkerHeartbeat, WorkerSlotsInfo};

    use super::*;

    fn report(status: WorkerStatus, available: i32) -> RecordWorkerHeartbeatRequest {
        RecordWorkerHeartbeatRequest {
            worker_heartbeat: vec![WorkerHeartbeat {
                status: status as i32,
                activity_task_slots_info: Some(WorkerSlotsInfo {
                    current_used_slots: 3,
                    current_available_slots: available,
                    ..WorkerSlotsInfo::default()
                }),
                ..WorkerHeartbeat::default()
            }],
            ..RecordWorkerHeartbeatRequest::default()
        }
    }

    #[test]
    fn a_worker_without_polls_keeps_its_used_slots_and_has_no_free_ones() {
        let mut request = report(WorkerStatus::Running, 97);
        without_room(&mut request);
        assert_eq!(request, report(WorkerStatus::ShuttingDown, 0));
        let mut request = report(WorkerStatus::Shutdown, 97);
        without_room(&mut request);
        assert_eq!(request, report(WorkerStatus::Shutdown, 0));
    }
}
