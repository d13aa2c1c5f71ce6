//! A whole worker: one workflow with one activity.

use std::{process::ExitCode, time::Duration};
use taskqueue_worker::Worker;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

#[workflow]
#[derive(Default)]
struct Greeting;

#[workflow_methods]
impl Greeting {
    #[run(name = "Greeting")]
    async fn run(ctx: &mut WorkflowContext<Self>, name: String) -> WorkflowResult<String> {
        let options = ActivityOptions::start_to_close_timeout(Duration::from_mins(1));
        Ok(ctx.execute_activity(Greeter::greet, name, options).await?)
    }
}

struct Greeter;

#[activities]
impl Greeter {
    #[activity(name = "greet")]
    async fn greet(_context: ActivityContext, name: String) -> Result<String, ActivityError> {
        tokio::time::sleep(Duration::from_secs(1)).await; // the work
        Ok(format!("Hello, {name}!"))
    }
}

fn main() -> ExitCode {
    taskqueue_worker::main(async |_environment| {
        Ok(Worker::new("greetings")
            .workflow::<Greeting>()
            .activities(Greeter))
    })
}
