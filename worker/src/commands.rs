//! The commands. `run` is the worker. The others, start, status, cancel and migrate, connect to
//! Temporal (`migrate`: to the database), print data to standard output, and exit.

pub mod cli;
mod client;
mod outcome;
pub mod run;
pub mod settings;
mod start;
mod stdout;

use std::process::ExitCode;

use serde_json::{Value, json};
use taskqueue_worker::TemporalSettings;
use temporalio_client::{
    WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions,
    WorkflowExecutionStatus, WorkflowQueryOptions,
    errors::{WorkflowInteractionError, WorkflowUpdateError},
};

use crate::domain::workflow::{OrderWorkflow, Words};
use crate::store::{self, Store};

use cli::{CancelArgs, OrderArgs};
use client::connect;
use stdout::print;

pub use client::OrderHandle;
pub use outcome::outcome;
pub use start::{Started, start, start_order};

/// Prints the state of an order.
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
            // The state comes from a worker. If none answers, the rest is still worth printing.
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
            anyhow::bail!("{workflow_id}: no running order has this ID")
        }
        Err(error) => Err(anyhow::Error::new(error).context(workflow_id)),
    }
}

/// Migrates the database to the current schema.
pub async fn migrate(url: &str) -> anyhow::Result<ExitCode> {
    let store = Store::open(url, 1).await.map_err(|error| {
        anyhow::anyhow!("DATABASE_URL cannot be used: {}", store::describe(&error))
    })?;
    store.migrate().await.map_err(|error| {
        let why = store::describe_migration(&error);
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
