//! Carries a plan out. The only writer of Deployments, replicas and pod annotations; decides
//! nothing.
//!
//! - The template of a Deployment belongs to the field manager
//!   [`MANAGER`](taskqueue_api::well_known::MANAGER), its replicas to
//!   [`REPLICAS_MANAGER`](crate::owned::REPLICAS_MANAGER). The first never owns the replicas,
//!   because dropping an owned field would reset it to its default of 1.
//! - So a Deployment is made in three steps, each of which may be the last one before a crash: the
//!   whole object with its replicas by the second manager (no pod is started that is not wanted,
//!   and admission rules see the real template); the whole object without replicas by the first;
//!   the replicas alone by the second, which gives up all the rest. Until then an annotation says
//!   that the creation is not finished.
//! - Every write names the object that was decided on, by its uid and, where that is known, its
//!   version: whatever was decided on outdated knowledge is refused. Versions move with the status
//!   too; where nothing else has, the same is sent again at once.
//! - Replicas that are added come first, before budgets and templates. The queues of a fleet are
//!   written side by side, and a pass does not wait long for a template: what is not answered by
//!   then goes on beside it, and its end leads to another pass. Deletions come last.

mod background;
mod budgets;
mod deployments;
mod ownership;
mod replicas;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::sync::Semaphore;

use crate::applied::{Applied, End, QueueApplied, Writing};
use crate::plan::Plan;

use background::BackgroundWrite;
use writer::{SIDE_BY_SIDE, is_another};

pub use writer::Writer;

impl Writer {
    /// Carries the plan out. What is not answered within `patience` goes on in the background;
    /// `ended` is called when it ends.
    pub async fn apply(
        &self,
        plan: &Plan,
        patience: Duration,
        ended: impl Fn() + Clone + Send + 'static,
    ) -> Applied {
        let queues = plan.queues.iter();
        let resizing: Vec<_> = queues
            .map(|queue| self.resized(&plan.fleet, queue))
            .collect();
        let resized = stream::iter(resizing).buffered(SIDE_BY_SIDE);
        let resized: Vec<QueueApplied> = resized.collect().await;
        let mut applied = Applied::default();
        let mut started = Vec::new();
        let permits = Arc::new(Semaphore::new(SIDE_BY_SIDE));
        for (queue, done) in plan.queues.iter().zip(resized) {
            let stale = done.error.as_ref().is_some_and(is_another);
            if queue.is_prepared() && !stale {
                let write = BackgroundWrite {
                    writer: self.clone(),
                    fleet: plan.fleet.clone(),
                    plan: queue.clone(),
                    version: done
                        .scaled
                        .as_ref()
                        .and_then(|s| s.resource_version.clone()),
                };
                started.push((queue, write.start(Arc::clone(&permits), ended.clone())));
            }
            applied.queues.insert(queue.queue.clone(), done);
        }
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(deadline);
        for (queue, write) in started {
            let Some(done) = applied.queues.remove(&queue.queue) else {
                continue;
            };
            let prepared = match write.ended_before(deadline.as_mut()).await {
                Ok(prepared) => prepared,
                Err(task) => {
                    let rendered = queue.rendered();
                    let writing = Writing { rendered, task };
                    applied.writing.insert(queue.queue.clone(), writing);
                    QueueApplied {
                        end: End::Pending,
                        ..QueueApplied::default()
                    }
                }
            };
            applied
                .queues
                .insert(queue.queue.clone(), prepared.and(done));
        }
        self.prune_all(plan, &mut applied).await;
        applied
    }

    /// Waits until nothing is under way in the background.
    pub async fn ended(&self) {
        self.background.close();
        self.background.wait().await;
        self.background.reopen();
    }

    async fn prune_all(&self, plan: &Plan, applied: &mut Applied) {
        for prune in &plan.prunes {
            let removed = async {
                if prune.budget {
                    self.delete_budget(&plan.fleet, &prune.deployment_name)
                        .await?;
                }
                self.prune(&plan.fleet, prune).await
            };
            match removed.await {
                Ok(()) => applied.pruned.push(prune.clone()),
                Err(error) => applied.prune_errors.push(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
