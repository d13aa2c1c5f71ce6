//! Handles the commands of callers: watch, forget, hint. No I/O.

use std::collections::BTreeMap;

use taskqueue_scaling::Time;

use crate::backoff::millis;
use crate::connection::ResolvedConnection;
use crate::credential::Credential;
use crate::queue::{Queue, Subscription};
use crate::reader::{Command, Reader};
use crate::readings::Subscriber;
use crate::schedule::JobId;
use crate::subscription::OwnerKey;

impl Reader {
    pub(super) fn obey(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Watch {
                owner,
                connection,
                queues,
            } => {
                self.watch(&owner, &connection, queues, now);
            }
            Command::Forget(owner) => {
                for (queue, job) in self.owners.remove(&owner).unwrap_or_default() {
                    self.leave(
                        job,
                        &Subscriber {
                            owner: owner.clone(),
                            queue,
                        },
                    );
                }
            }
            Command::Hint(subscriber) => {
                let jobs = self.owners.get(&subscriber.owner);
                let job = jobs.and_then(|jobs| jobs.get(&subscriber.queue)).copied();
                if let Some(job) = job
                    && let Some((credential_id, queue)) = self.queues.get_mut(&job)
                {
                    let credential = self.credentials.get(credential_id);
                    let past_cache = credential.is_some_and(|c| c.reads_past_cache);
                    let cache = millis(self.parts.config.statistics_cache);
                    let at = queue.hint(now, cache, past_cache);
                    self.schedule.hasten(job, at);
                }
            }
        }
        self.paced_at = None;
    }

    fn watch(
        &mut self,
        owner: &OwnerKey,
        connection: &ResolvedConnection,
        queues: Vec<Subscription>,
        now: Time,
    ) {
        let before = self.owners.remove(owner).unwrap_or_default();
        let mut jobs = BTreeMap::new();
        for subscription in queues {
            let name = subscription.spec.queue.clone();
            let job = self.join(connection, &subscription.spec.task_queue, now);
            let subscriber = Subscriber {
                owner: owner.clone(),
                queue: name.clone(),
            };
            self.subscribe(job, &subscriber, &subscription, now);
            jobs.insert(name, job);
        }
        // Joins new queues before leaving old ones, so that a connection used by both stays open.
        for (queue, job) in before {
            if jobs.get(&queue) != Some(&job) {
                self.leave(
                    job,
                    &Subscriber {
                        owner: owner.clone(),
                        queue,
                    },
                );
            }
        }
        self.owners.insert(owner.clone(), jobs);
    }

    /// The job that reads a task queue with a credential; created if it does not exist.
    fn join(&mut self, connection: &ResolvedConnection, task_queue: &str, now: Time) -> JobId {
        let credential_id = connection.credential_id();
        if !self.credentials.contains_key(&credential_id) {
            let job = self.new_job();
            self.lists.insert(job, credential_id);
            self.schedule.set(job, now.as_millis(), 0);
            self.credentials
                .insert(credential_id, Credential::new(connection.clone(), job));
        }
        let name = (credential_id, task_queue.to_owned());
        if let Some(job) = self.by_name.get(&name) {
            return *job;
        }
        let job = self.new_job();
        self.queues
            .insert(job, (credential_id, Queue::new(task_queue.to_owned())));
        self.by_name.insert(name, job);
        if let Some(credential) = self.credentials.get_mut(&credential_id) {
            credential.queues.insert(job);
        }
        self.schedule.set(job, now.as_millis(), 0);
        job
    }

    fn subscribe(
        &mut self,
        job: JobId,
        subscriber: &Subscriber,
        subscription: &Subscription,
        now: Time,
    ) {
        let Some((credential_id, queue)) = self.queues.get_mut(&job) else {
            return;
        };
        let (was_busy, had_replicas) = (queue.is_busy(now), queue.has_replicas());
        let types = queue.types(now);
        let new = queue
            .subscriptions
            .insert(subscriber.clone(), subscription.clone());
        let same = |before: &Subscription| before.spec.generation == subscription.spec.generation;
        if !new.as_ref().is_some_and(same) {
            queue.forget_served();
        }
        let got_work = !was_busy && queue.is_busy(now);
        let got_types = queue.types(now) != types;
        if got_types || got_work {
            self.schedule.hasten(job, now.as_millis());
        }
        // Mostly its tasks have made the queue busy before it has replicas.
        if !had_replicas
            && queue.has_replicas()
            && let Some(credential) = self.credentials.get_mut(credential_id)
            && !credential.lists_often
        {
            credential.lists_often = true;
            self.schedule.hasten(credential.job, now.as_millis());
        }
        if new.is_none_or(|before| before.watch != subscription.watch) {
            self.publish_backlog(job, Some(subscriber));
            self.publish_workers(job, Some(subscriber));
        }
    }

    /// Removes a subscriber from a queue, and everything that nobody wants any more.
    fn leave(&mut self, job: JobId, subscriber: &Subscriber) {
        let Some((credential_id, queue)) = self.queues.get_mut(&job) else {
            return;
        };
        let credential_id = *credential_id;
        queue.subscriptions.remove(subscriber);
        if !queue.subscriptions.is_empty() {
            return;
        }
        self.by_name.remove(&(credential_id, queue.name.clone()));
        self.queues.remove(&job);
        self.schedule.remove(job);
        if let Some(credential) = self.credentials.get_mut(&credential_id) {
            credential.queues.remove(&job);
            if credential.queues.is_empty() {
                self.parts.stats.release(&credential.connection);
                self.schedule.remove(credential.job);
                self.lists.remove(&credential.job);
                self.credentials.remove(&credential_id);
            }
        }
    }
}
