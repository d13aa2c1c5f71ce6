//! The client of the commands.

use temporalio_client::{Client, WorkflowHandle};

use crate::connection::Connector;
use crate::settings::TemporalSettings;
use crate::workflow::OrderWorkflow;

/// The handle of an order's workflow.
pub type OrderHandle = WorkflowHandle<Client, OrderWorkflow>;

/// One attempt to connect: a command says at once what is wrong.
pub(super) async fn connect(settings: TemporalSettings) -> anyhow::Result<Client> {
    let connector = Connector::new(settings)?;
    Ok(connector.connect().await?)
}
