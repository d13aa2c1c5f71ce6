//! The Temporal client of the commands.

use taskqueue_worker::{Connector, TemporalSettings};
use temporalio_client::{Client, WorkflowHandle};

use crate::domain::workflow::OrderWorkflow;

/// A handle of an order's workflow.
pub type OrderHandle = WorkflowHandle<Client, OrderWorkflow>;

/// Connects with a single attempt, so that a command reports an error immediately.
pub(super) async fn connect(settings: TemporalSettings) -> anyhow::Result<Client> {
    let connector = Connector::new(settings)?;
    Ok(connector.connect().await?)
}
