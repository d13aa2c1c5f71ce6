//! The signals that end the process.

use anyhow::Context as _;
use tokio::signal::unix::{self, SignalKind};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A token that is cancelled at SIGTERM or SIGINT.
pub(super) fn signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate =
        unix::signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt =
        unix::signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("received SIGTERM or SIGINT: finishing work in flight");
        stopped.cancel();
    });
    Ok(stop)
}
