//! One of the SDK workers of a process fails for good.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_worker::Worker;
use taskqueue_worker::testing::{DEADLINE, eventually};
use temporalio_client::{
    ActivityStartOptions, UntypedWorkflow, WorkflowStartOptions, WorkflowTerminateOptions,
};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{WorkflowContext, WorkflowResult};
use tokio::sync::Notify;

use crate::support::{Inside, address, client};

const QUEUE: &str = "fatal";

#[workflow]
#[derive(Default)]
struct Broken;

#[workflow_methods]
impl Broken {
    #[run(name = "Broken")]
    async fn run(_context: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        std::future::ready(Ok(())).await
    }
}

struct Tasks {
    started: Arc<Notify>,
    finish: Arc<Notify>,
}

#[activities]
impl Tasks {
    /// Runs until the test lets it finish.
    #[activity(name = "long")]
    async fn long(self: Arc<Self>, _context: ActivityContext) -> Result<(), ActivityError> {
        self.started.notify_one();
        self.finish.notified().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_activities_still_drain_when_the_workflow_worker_fails() {
    let client = client().await;
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let tasks = Tasks {
        started: started.clone(),
        finish: finish.clone(),
    };
    let variables = [("TEMPORAL_ADDRESS", address().await)];
    let worker = Inside::start(variables, || {
        Worker::new(QUEUE)
            .activities(tasks)
            .workflow_with::<Broken, _>(|| panic!("the test makes no instance"))
    });
    let is_ready = async || worker.get("/readyz").await.is_some();
    eventually("it is ready", async || is_ready().await.then_some(())).await;
    let limit = Duration::from_mins(5);
    let options = ActivityStartOptions::with_start_to_close_timeout(QUEUE, "fatal", limit);
    let long = client
        .start_activity(Tasks::long, (), options.build())
        .await
        .unwrap();
    started.notified().await;

    // The instance of a workflow is made outside of what the SDK protects from a panic.
    let workflow = client
        .start_workflow(
            UntypedWorkflow::new("Broken"),
            RawValue::new(Vec::new()),
            WorkflowStartOptions::new(QUEUE, "fatal").build(),
        )
        .await
        .unwrap();
    eventually("it is no longer ready", async || {
        (!is_ready().await).then_some(())
    })
    .await;
    finish.notify_one();
    let result = tokio::time::timeout(DEADLINE, long.result()).await;
    result.expect("the activity was cut off").unwrap();
    let error = worker.outcome().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the workflow worker stopped polling"),
        "{error:#}"
    );
    let terminated = workflow.terminate(WorkflowTerminateOptions::default());
    terminated.await.unwrap();
}
