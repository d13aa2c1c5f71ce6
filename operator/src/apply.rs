//! Carries out a plan. The only writer of Deployments, their replicas, PodDisruptionBudgets and pod
//! annotations; decides nothing.
//!
//! - A Deployment has two field managers: [`MANAGER`](taskqueue_api::well_known::MANAGER) owns its
//!   template, [`REPLICAS_MANAGER`](crate::owned::REPLICAS_MANAGER) its replicas. The first never
//!   owns the replicas, because giving up an owned field would reset it to its default of 1.
//! - A Deployment is therefore created in three steps, each of which may be the last one before a
//!   crash. First the second manager writes the whole object with its replicas, so that no unwanted
//!   pod starts and admission rules see the real template. Then the first manager writes the whole
//!   object without replicas. Finally the second manager writes the replicas alone and thereby
//!   gives up everything else. Until then an annotation marks the creation as unfinished.
//! - Every write names the object that was decided on, by its uid and, where known, its version, so
//!   that the server refuses a decision made on outdated knowledge. The version also changes with
//!   the status; if nothing else has changed, the same write is sent again at once.
//! - Added replicas are written first, before budgets and templates. The queues of a fleet are
//!   written concurrently, and a pass does not wait long for a template: a write that is not
//!   answered in time continues in the background, and its end leads to another pass. Deletions
//!   come last.

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
    /// Carries out the plan. A write that is not answered within `timeout` continues in the
    /// background and calls `ended` when it ends.
    pub async fn apply(
        &self,
        plan: &Plan,
        timeout: Duration,
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
        self.protect_all(plan, &mut applied).await;
        self.remember_all(plan, &mut applied).await;
        let deadline = tokio::time::sleep(timeout);
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

    /// Waits until no background write is in progress.
    pub async fn ended(&self) {
        self.background.close();
        self.background.wait().await;
        self.background.reopen();
    }

    async fn protect_all(&self, plan: &Plan, applied: &mut Applied) {
        for queue in &plan.queues {
            let writes: Vec<_> = queue
                .protections
                .iter()
                .map(|protection| self.protect(&plan.fleet, protection))
                .collect();
            let mut written = stream::iter(writes).buffered(SIDE_BY_SIDE);
            while let Some(result) = written.next().await {
                if let (Err(error), Some(done)) = (result, applied.queues.get_mut(&queue.queue)) {
                    done.error.get_or_insert(error);
                }
            }
        }
    }

    async fn remember_all(&self, plan: &Plan, applied: &mut Applied) {
        let planned = plan.queues.iter().filter_map(|queue| {
            let remember = queue.remember.as_ref()?;
            Some(async move {
                let name = &queue.workload_name;
                let version = self.remember(&plan.fleet, name, remember).await;
                (&queue.queue, version)
            })
        });
        let planned: Vec<_> = planned.collect();
        let mut written = stream::iter(planned).buffered(SIDE_BY_SIDE);
        while let Some((queue, version)) = written.next().await {
            if let Some(done) = applied.queues.get_mut(queue) {
                done.remembered = Some(version);
            }
        }
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
