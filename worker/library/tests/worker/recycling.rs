//! A replaced SDK worker: what the server and a scraper see of its slots while its last activity
//! runs, and that there is never more than one.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use taskqueue_worker::Worker;
use taskqueue_worker::testing::eventually;
use temporalio_client::{ActivityStartOptions, Client};
use temporalio_common::protos::temporal::api::enums::v1::WorkerStatus;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::sync::Notify;

use crate::support::{Inside, address, client, heartbeats};

const QUEUE: &str = "recycling";
const SLOTS: i32 = 7;
/// The fewest activities after which an SDK worker can be replaced.
const RECYCLE_AFTER: usize = 100;

struct Tasks {
    finish: Arc<Notify>,
}

#[activities]
impl Tasks {
    #[activity(name = "short")]
    async fn short(self: Arc<Self>, _context: ActivityContext) -> Result<(), ActivityError> {
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Runs until the test lets it finish.
    #[activity(name = "long")]
    async fn long(self: Arc<Self>, _context: ActivityContext) -> Result<(), ActivityError> {
        self.finish.notified().await;
        Ok(())
    }
}

fn options(id: String) -> ActivityStartOptions {
    let limit = Duration::from_mins(5);
    ActivityStartOptions::with_start_to_close_timeout(QUEUE, id, limit).build()
}

/// Runs more short activities than one SDK worker may.
async fn run_short(client: &Client, name: &str) {
    stream::iter(0..RECYCLE_AFTER + 20)
        .map(|n| async move {
            let options = options(format!("{name}-{n}"));
            let started = client.start_activity(Tasks::short, (), options).await;
            started.unwrap().result().await.unwrap();
        })
        .buffer_unordered(10)
        .collect::<Vec<()>>()
        .await;
}

/// The status, used and free activity slots of each worker that has any in use, or that polls.
async fn slots(client: &Client) -> Vec<(WorkerStatus, i32, i32)> {
    let mut all: Vec<_> = heartbeats(client, QUEUE)
        .await
        .into_iter()
        .filter_map(|report| {
            let slots = report.activity_task_slots_info?;
            let status = WorkerStatus::try_from(report.status).unwrap();
            let seen = (
                status,
                slots.current_used_slots,
                slots.current_available_slots,
            );
            (status != WorkerStatus::Shutdown).then_some(seen)
        })
        .collect();
    all.sort_by_key(|(status, used, _)| (*status as i32, *used));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_worker_reports_no_free_slots_and_the_next_one_waits_for_its_end() {
    let client = client().await;
    let finish = Arc::new(Notify::new());
    let tasks = Tasks {
        finish: finish.clone(),
    };
    let variables = [
        ("TEMPORAL_ADDRESS", address().await),
        ("TASKQUEUE_WORKER_ACTIVITY_SLOTS", SLOTS.to_string()),
        (
            "TASKQUEUE_WORKER_HEARTBEAT_INTERVAL_SECONDS",
            "1".to_owned(),
        ),
        (
            "TASKQUEUE_WORKER_RECYCLE_AFTER_ACTIVITIES",
            RECYCLE_AFTER.to_string(),
        ),
    ];
    let worker = Inside::start(variables, move || Worker::new(QUEUE).activities(tasks));
    let long = client
        .start_activity(Tasks::long, (), options("long".to_owned()))
        .await
        .unwrap();
    run_short(&client, "first").await;
    let recycles = async || worker.metric("taskqueue_worker_recycles_total", "").await;
    eventually("the worker is replaced", async || {
        (recycles().await == ["1"]).then_some(())
    })
    .await;

    // The server sees one worker with free slots, and one whose only slot that counts is in use.
    eventually("the replaced worker has no free slots", async || {
        let seen = slots(&client).await;
        let expected = [
            (WorkerStatus::Running, 0, SLOTS),
            (WorkerStatus::ShuttingDown, 1, 0),
        ];
        (seen == expected).then_some(())
    })
    .await;
    // So does a scraper.
    let labels = "worker_type=\"ActivityWorker\"";
    let gauge = async |name| worker.metric(name, labels).await;
    eventually("the gauges add up", async || {
        let used = gauge("temporal_worker_task_slots_used").await;
        let free = gauge("temporal_worker_task_slots_available").await;
        (used == ["1"] && free == ["7"]).then_some(())
    })
    .await;

    // The next replacement is due, and waits for the end of the first one's last activity.
    run_short(&client, "second").await;
    run_short(&client, "third").await;
    assert_eq!(recycles().await, ["1"]);
    finish.notify_one();
    long.result().await.unwrap();
    eventually("the worker is replaced again", async || {
        (recycles().await == ["2"]).then_some(())
    })
    .await;
}
