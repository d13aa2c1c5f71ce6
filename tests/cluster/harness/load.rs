//! A steady flow of orders during a test.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinHandle;

use super::{Temporal, eventually};

/// About one order per second, each with a payment of one second, until stopped.
pub(crate) struct Load {
    temporal: Temporal,
    stop: Arc<AtomicBool>,
    placing: JoinHandle<anyhow::Result<Vec<String>>>,
}

impl Load {
    /// Starts with this order number, and waits until an activity has started.
    pub(crate) async fn start(
        temporal: &Temporal,
        task_queue: &str,
        from: usize,
    ) -> anyhow::Result<Self> {
        let (temporal, task_queue) = (temporal.clone(), task_queue.to_owned());
        let order = json!({"total": 100, "card": "tok_delay_1000"});
        let first = temporal.order(&task_queue, from, order.clone())?;
        eventually("orders flow", || async {
            let attempts = temporal.attempts(&first).unwrap_or_default();
            Ok(if attempts.is_empty() {
                Err("no activity has been started".to_owned())
            } else {
                Ok(())
            })
        })
        .await?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, server) = (stop.clone(), temporal.clone());
        let placing = tokio::spawn(async move {
            let mut placed = vec![first];
            let mut pace = tokio::time::interval(Duration::from_secs(1));
            while !stopped.load(Ordering::Relaxed) {
                pace.tick().await;
                placed.push(server.order(&task_queue, from + placed.len(), order.clone())?);
            }
            Ok(placed)
        });
        Ok(Self {
            temporal,
            stop,
            placing,
        })
    }

    /// Stops placing orders, and waits until every order is done, with every activity at its first
    /// attempt.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let placed = self.placing.await??;
        self.temporal.results_at_once(&placed).await
    }
}
