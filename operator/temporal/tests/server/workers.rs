//! The workers' heartbeats as a real server reports them.

use std::time::{Duration, SystemTime};

use taskqueue_scaling::{PodPhase, Reading, TypeSlots, UnknownReason};
use taskqueue_temporal::*;
use taskqueue_testkit::scripted::{owner, with_replicas};
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::enums::v1::WorkerStatus as WireStatus;
use temporalio_common::protos::temporal::api::worker::v1::{
    WorkerHeartbeat, WorkerHostInfo, WorkerPollerInfo, WorkerSlotsInfo,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::RecordWorkerHeartbeatRequest;

use crate::dev_server::{Server, reading, watching};

fn beat(key: &str, queue: &str, used: i32, elapsed: Option<Duration>) -> WorkerHeartbeat {
    let slots = |used: i32| {
        Some(WorkerSlotsInfo {
            current_available_slots: 100 - used,
            current_used_slots: used,
            slot_supplier_kind: "Fixed".to_owned(),
            total_processed_tasks: 11 * used,
            ..WorkerSlotsInfo::default()
        })
    };
    let pollers = |current_pollers| {
        Some(WorkerPollerInfo {
            current_pollers,
            ..WorkerPollerInfo::default()
        })
    };
    WorkerHeartbeat {
        worker_instance_key: key.to_owned(),
        worker_identity: format!("1@{key}"),
        host_info: Some(WorkerHostInfo {
            host_name: key.to_owned(),
            ..WorkerHostInfo::default()
        }),
        task_queue: queue.to_owned(),
        sdk_name: "temporal-rust".to_owned(),
        sdk_version: "1.1.1".to_owned(),
        status: WireStatus::Running.into(),
        heartbeat_time: Some(SystemTime::now().into()),
        elapsed_since_last_heartbeat: elapsed.and_then(|elapsed| elapsed.try_into().ok()),
        activity_task_slots_info: slots(used),
        activity_poller_info: pollers(5),
        workflow_task_slots_info: slots(0),
        workflow_poller_info: pollers(0),
        workflow_sticky_poller_info: pollers(0),
        ..WorkerHeartbeat::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_heartbeat_updates_the_slots_of_its_pod() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let readers = watching(&server.connection("default"), &[with_replicas("orders")]);
    reading(&readers, "orders", "the first list", |reading| {
        (reading.workers.unknown() == Some(UnknownReason::NoHeartbeats)).then_some(())
    })
    .await;
    let request = RecordWorkerHeartbeatRequest {
        namespace: "default".to_owned(),
        identity: "test".to_owned(),
        worker_heartbeat: vec![
            beat("pod-a", "orders", 3, Some(Duration::from_secs(5))),
            beat("pod-b", "elsewhere", 9, None),
        ],
        ..RecordWorkerHeartbeatRequest::default()
    };
    client
        .record_worker_heartbeat(request.into_request())
        .await
        .unwrap();
    reading(&readers, "orders", "the worker", |reading| {
        reading.workers.taken_at()
    })
    .await;
    let pods = [LivePod {
        name: "pod-a".to_owned(),
        phase: PodPhase::Ready,
    }];
    let now = readers.clock().now();
    let workers = readers.reading(&owner("fleet"), "orders").workers;
    let Reading::Known { value, .. } = slots(&workers, &pods, "orders", now) else {
        panic!("{workers:?}");
    };
    let pod = &value.pods[0];
    assert!(pod.fresh, "{pod:?}");
    assert_eq!(
        pod.types.activity,
        Some(TypeSlots {
            used: 3,
            available: Some(97),
            processed_total: Some(33)
        })
    );
    // The worker reports slots for workflows as well, but does not poll for them.
    assert_eq!(pod.types.workflow, None);
    readers.shutdown().await;
}
