//! The backlog as a real server reports it.

use std::time::{Duration, Instant};

use taskqueue_temporal::*;
use taskqueue_testkit::scripted::{owner, watch};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::common::v1::{ActivityType, Priority, WorkflowType};
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    StartActivityExecutionRequest, StartWorkflowExecutionRequest,
};

use crate::dev_server::{DEADLINE, Server, first_reading, reading, watching};

fn all_types(queue: &str) -> QueueWatch {
    QueueWatch {
        task_types: Vec::new(),
        generation: 1,
        ..watch(queue)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "matches the field's type")]
fn task_queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue {
        name: name.to_owned(),
        ..TaskQueue::default()
    })
}

async fn start_activities(client: &mut Box<dyn WorkflowService>, queue: &str, count: usize) {
    start_activities_of(client, queue, count, 0).await;
}

/// The same with a priority key; 0 is the default one.
async fn start_activities_of(
    client: &mut Box<dyn WorkflowService>,
    queue: &str,
    count: usize,
    priority_key: i32,
) {
    for index in 0..count {
        let request = StartActivityExecutionRequest {
            namespace: "default".to_owned(),
            request_id: format!("{queue}-{priority_key}-{index}"),
            activity_id: format!("{queue}-{priority_key}-{index}"),
            priority: Some(Priority {
                priority_key,
                ..Priority::default()
            }),
            activity_type: Some(ActivityType {
                name: "nothing".to_owned(),
            }),
            task_queue: task_queue(queue),
            start_to_close_timeout: Duration::from_mins(10).try_into().ok(),
            ..StartActivityExecutionRequest::default()
        };
        client
            .start_activity_execution(request.into_request())
            .await
            .unwrap();
    }
}

async fn start_workflows(client: &mut Box<dyn WorkflowService>, queue: &str, count: usize) {
    for index in 0..count {
        let request = StartWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            request_id: format!("{queue}-{index}"),
            workflow_id: format!("{queue}-{index}"),
            workflow_type: Some(WorkflowType {
                name: "Nothing".to_owned(),
            }),
            task_queue: task_queue(queue),
            ..StartWorkflowExecutionRequest::default()
        };
        client
            .start_workflow_execution(request.into_request())
            .await
            .unwrap();
    }
}

/// Counts per type: workflow, activity, nexus.
fn counts(reading: &QueueReading) -> Option<[u64; 3]> {
    let types = reading.backlog.known()?.types;
    Some([
        types.workflow?.count,
        types.activity?.count,
        types.nexus?.count,
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_read_exactly_and_per_type() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let readers = watching(
        &server.connection("default"),
        &[all_types("orders"), all_types("nobody-knows")],
    );
    let empty = reading(&readers, "orders", "the first reading", counts).await;
    assert_eq!(empty, [0, 0, 0]);
    start_activities(&mut client, "orders", 40).await;
    start_workflows(&mut client, "orders", 7).await;
    let began = Instant::now();
    reading(&readers, "orders", "the whole backlog", |reading| {
        (counts(reading) == Some([7, 40, 0])).then_some(())
    })
    .await;
    println!(
        "47 tasks seen {:?} after the last was started",
        began.elapsed()
    );
    let full = readers.reading(&owner("fleet"), "orders").backlog;
    let activity = full.known().unwrap().types.activity.unwrap();
    assert!(activity.add_rate_milli > 0 && !activity.rate_limited);
    assert!(activity.age > Duration::ZERO && activity.age < DEADLINE);
    assert_eq!(
        counts(&readers.reading(&owner("fleet"), "nobody-knows")),
        Some([0, 0, 0])
    );
    readers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_tasks_are_read_by_priority() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (priority_key, count) in [(1, 3), (0, 5), (5, 9)] {
        start_activities_of(&mut client, "orders", count, priority_key).await;
    }
    let readers = watching(&server.connection("default"), &[watch("orders")]);
    reading(&readers, "orders", "17 tasks", |reading| {
        let activity = reading.backlog.known()?.types.activity?;
        (activity.by_priority == [3, 0, 5, 0, 9] && activity.count == 17).then_some(())
    })
    .await;
    readers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hint_is_answered_past_the_servers_cache() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let readers = watching(&server.connection("default"), &[all_types("orders")]);
    let first = first_reading(&readers).await;
    start_activities(&mut client, "orders", 20).await;
    let began = Instant::now();
    readers.hint(&owner("fleet"), "orders");
    let seen = reading(&readers, "orders", "the backlog after a hint", |reading| {
        (counts(reading) == Some([0, 20, 0])).then(|| reading.backlog.taken_at())
    })
    .await
    .unwrap();
    println!(
        "20 tasks seen {:?} after the hint, {:?} after the first read",
        began.elapsed(),
        seen.since(first)
    );
    // Ordinary reads are answered from the cache for five seconds after the first.
    assert!(
        seen.since(first) < Duration::from_secs(5),
        "{:?}",
        seen.since(first)
    );
    readers.shutdown().await;
}
