//! Writes that a pass does not wait for, because an admission webhook may be slow. One task each.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use taskqueue_api::FleetKey;
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::task::AbortOnDropHandle;

use super::writer::{Writer, is_another};
use crate::applied::{End, QueueApplied};
use crate::plan::QueuePlan;

/// Writes the Deployment and the budget of one queue, without a change of the replicas.
pub(super) struct BackgroundWrite {
    pub(super) writer: Writer,
    pub(super) fleet: FleetKey,
    pub(super) plan: QueuePlan,
    /// The version of the Deployment, if this pass has already written to it.
    pub(super) version: Option<String>,
}

/// A write in progress.
pub(super) struct Started {
    task: AbortOnDropHandle<QueueApplied>,
    /// Set once the task has nothing left to do.
    over: Arc<AtomicBool>,
    /// Set once nobody waits for the task any more: it must then call `ended` when it ends.
    late: Arc<AtomicBool>,
}

impl BackgroundWrite {
    pub(super) fn start(
        self,
        permits: Arc<Semaphore>,
        ended: impl Fn() + Send + 'static,
    ) -> Started {
        let (over, late) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (is_over, is_late) = (Arc::clone(&over), Arc::clone(&late));
        let tasks = self.writer.background.clone();
        let task = tasks.spawn(async move {
            let leading = self.writer.leading.clone();
            // A panic must not skip what follows, or the fleet would wait for its next pass.
            let write = AssertUnwindSafe(self.write(&permits)).catch_unwind();
            let done = tokio::select! {
                biased;
                () = leading.ended() => QueueApplied {
                    end: End::BrokenOff,
                    ..QueueApplied::default()
                },
                done = write => done.unwrap_or_else(|panic| QueueApplied::panicked(&*panic)),
            };
            is_over.store(true, Ordering::SeqCst);
            if is_late.load(Ordering::SeqCst) {
                ended();
            }
            done
        });
        Started {
            task: AbortOnDropHandle::new(task),
            over,
            late,
        }
    }

    async fn write(&self, permits: &Semaphore) -> QueueApplied {
        // The semaphore is never closed.
        let _permit = permits.acquire().await;
        let Self {
            writer,
            fleet,
            plan,
            version,
        } = self;
        let mut done = QueueApplied::default();
        let prepared = writer
            .prepare(fleet, plan, version.as_deref(), &mut done)
            .await;
        if let Err(error) = prepared {
            // An error about a changed or missing object says nothing about what we meant to write.
            if !is_another(&error) {
                done.end = End::Refused;
            }
            done.error = Some(error);
        }
        done
    }
}

impl Started {
    /// Returns the outcome, or the task if it has not ended by the deadline.
    pub(super) async fn ended_before(
        mut self,
        deadline: Pin<&mut Sleep>,
    ) -> Result<QueueApplied, AbortOnDropHandle<QueueApplied>> {
        tokio::select! {
            biased;
            done = &mut self.task => return Ok(QueueApplied::of_task(done)),
            () = deadline => {}
        }
        self.late.store(true, Ordering::SeqCst);
        // The task may have ended just now, before it could see that it is late.
        if self.over.load(Ordering::SeqCst) {
            return Ok(QueueApplied::of_task(self.task.await));
        }
        Err(self.task)
    }
}
