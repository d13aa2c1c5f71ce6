//! Starts the hint endpoint. Listens on a socket.

use std::sync::Arc;

use anyhow::Context as _;
use kube::Client;
use taskqueue_temporal::{OwnerKey, Readers};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::clock::Clock;
use crate::hints::Hints;
use crate::http;
use crate::settings::Settings;

/// Listens for hints until stopped, if the settings name an address.
pub(super) async fn listen(
    settings: &Settings,
    client: &Client,
    clock: Clock,
    readers: &Readers,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(address) = settings.hint_address else {
        return Ok(());
    };
    let listener = http::listen(address)
        .await
        .with_context(|| format!("cannot listen for hints on {address}"))?;
    let readers = readers.clone();
    let deliver = move |fleet: &OwnerKey, queue: &str| readers.hint(fleet, queue);
    let router = Hints::new(client.clone(), clock, Arc::new(deliver)).router();
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(http::bounded(listener, router, stopped));
    info!(%address, "accepting hints");
    Ok(())
}
