//! The client's commands: start, status, cancel, migrate. They talk to Temporal (or, for
//! `migrate`, to the database), print data to standard output, and end.

mod start;

use std::process::ExitCode;

use serde_json::{Value, json};
use temporalio_client::{
    Client, WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions,
    WorkflowExecutionStatus, WorkflowGetResultOptions, WorkflowHandle, WorkflowQueryOptions,
    errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowUpdateError},
};
use temporalio_common::error::IncomingError;

use crate::cli::{CancelArgs, OrderArgs};
use crate::connection::Connector;
use crate::order::{OrderResult, OrderState, Reason};
use crate::settings::TemporalSettings;
use crate::store::{self, Store};
use crate::workflow::{OrderWorkflow, Words};

pub use start::{Started, start, start_order};

/// The handle of an order's workflow.
pub type OrderHandle = WorkflowHandle<Client, OrderWorkflow>;

/// One attempt to connect: a command says at once what is wrong.
async fn connect(settings: TemporalSettings) -> anyhow::Result<Client> {
    let connector = Connector::new(settings)?;
    Ok(connector.connect().await?)
}

#[expect(
    clippy::print_stdout,
    reason = "the data that the command is asked for"
)]
fn print(line: &str) {
    println!("{line}");
}

/// Prints where an order stands.
pub async fn status(settings: TemporalSettings, args: &OrderArgs) -> anyhow::Result<ExitCode> {
    let client = connect(settings).await?;
    let workflow_id = args.workflow_id();
    let handle = client.get_workflow_handle::<OrderWorkflow>(workflow_id.as_str());
    let description = handle
        .describe(WorkflowDescribeOptions::default())
        .await
        .map_err(|error| not_found(error, &workflow_id))?;
    let mut answer = json!({
        "workflow_id": workflow_id,
        "run_id": description.run_id(),
        "status": format!("{:?}", description.status()),
    });
    if description.status() == WorkflowExecutionStatus::Running {
        match handle
            .query(OrderWorkflow::state, (), WorkflowQueryOptions::default())
            .await
        {
            Ok(state) => answer["order"] = serde_json::to_value(state)?,
            // The state is the worker's answer; without one the rest is still worth printing.
            Err(error) => answer["order_unknown"] = Value::String(error.to_string()),
        }
    } else {
        let outcome = outcome(&workflow_id, &handle).await?;
        answer["order"] = serde_json::to_value(outcome)?;
    }
    print(&serde_json::to_string_pretty(&answer)?);
    Ok(ExitCode::SUCCESS)
}

/// Cancels an order.
pub async fn cancel(settings: TemporalSettings, args: &CancelArgs) -> anyhow::Result<ExitCode> {
    let client = connect(settings).await?;
    let workflow_id = args.order.workflow_id();
    let handle = client.get_workflow_handle::<OrderWorkflow>(workflow_id.as_str());
    if args.workflow {
        let options = WorkflowCancelOptions::builder()
            .reason(args.reason.clone())
            .build();
        handle
            .cancel(options)
            .await
            .map_err(|error| not_found(error, &workflow_id))?;
        print(&format!("{workflow_id}: cancellation requested"));
        return Ok(ExitCode::SUCCESS);
    }
    let update = handle
        .execute_update(
            OrderWorkflow::cancel_order,
            Words(args.reason.clone()),
            WorkflowExecuteUpdateOptions::default(),
        )
        .await;
    match update {
        Ok(_) => {
            print(&format!("{workflow_id}: will be cancelled"));
            Ok(ExitCode::SUCCESS)
        }
        Err(WorkflowUpdateError::Failed(failure)) => {
            anyhow::bail!("{workflow_id}: {}", failure.message)
        }
        Err(WorkflowUpdateError::NotFound(_)) => {
            anyhow::bail!("{workflow_id}: there is no such order that still runs")
        }
        Err(error) => Err(anyhow::Error::new(error).context(workflow_id)),
    }
}

/// Brings the database up to date.
pub async fn migrate(url: &str) -> anyhow::Result<ExitCode> {
    let store = Store::open(url, 1)
        .await
        .map_err(|error| anyhow::anyhow!("DATABASE_URL cannot be used: {}", store::said(&error)))?;
    store.migrate().await.map_err(|error| {
        let why = store::said_of_migration(&error);
        anyhow::anyhow!("the database cannot be migrated (DATABASE_URL): {why}")
    })?;
    store.close().await;
    print("the database is up to date");
    Ok(ExitCode::SUCCESS)
}

fn not_found(error: WorkflowInteractionError, workflow_id: &str) -> anyhow::Error {
    match error {
        WorkflowInteractionError::NotFound(_) => {
            anyhow::anyhow!("{workflow_id}: there is no such order")
        }
        other => anyhow::Error::new(other).context(workflow_id.to_owned()),
    }
}

/// How an order ended, in the shape of a result whatever the workflow's end was. Waits for it.
pub async fn outcome(workflow_id: &str, handle: &OrderHandle) -> anyhow::Result<OrderResult> {
    let error = match handle.get_result(WorkflowGetResultOptions::default()).await {
        Ok(result) => return Ok(result),
        Err(error) => error,
    };
    let reason = match error {
        WorkflowGetResultError::Cancelled { details } => {
            if let Ok(result) = details.deserialize::<OrderResult>() {
                return Ok(result);
            }
            return Ok(ended(
                workflow_id,
                OrderState::Cancelled,
                "Canceled",
                "it was cancelled",
            ));
        }
        WorkflowGetResultError::Failed(failure) => match *failure {
            IncomingError::Application(failure) => {
                // A failure of a placed order carries the whole result.
                if let Ok(Some(result)) = failure.details::<OrderResult>() {
                    return Ok(result);
                }
                Reason {
                    kind: failure
                        .type_name()
                        .unwrap_or("ApplicationFailure")
                        .to_owned(),
                    message: failure.to_string(),
                }
            }
            other => Reason {
                kind: "Failed".to_owned(),
                message: other.to_string(),
            },
        },
        WorkflowGetResultError::Terminated { .. } => {
            return Ok(ended(
                workflow_id,
                OrderState::Failed,
                "Terminated",
                "it was terminated",
            ));
        }
        WorkflowGetResultError::TimedOut => {
            return Ok(ended(
                workflow_id,
                OrderState::Failed,
                "TimedOut",
                "it timed out",
            ));
        }
        other => return Err(anyhow::Error::new(other).context(workflow_id.to_owned())),
    };
    Ok(ended(
        workflow_id,
        OrderState::Failed,
        &reason.kind,
        &reason.message,
    ))
}

fn ended(workflow_id: &str, state: OrderState, kind: &str, message: &str) -> OrderResult {
    OrderResult {
        order_id: workflow_id
            .strip_prefix("order-")
            .unwrap_or(workflow_id)
            .to_owned(),
        state,
        total: 0,
        currency: String::new(),
        payment: None,
        notification: crate::order::Notification::default(),
        reason: Some(Reason {
            kind: kind.to_owned(),
            message: message.to_owned(),
        }),
    }
}
