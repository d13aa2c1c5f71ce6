//! Applies answers: to the connection, to the next read, to the readings. No I/O.

use std::sync::atomic::{AtomicU64, Ordering};

use taskqueue_scaling::Time;

use crate::backoff::millis;
use crate::budget::Millis;
use crate::call::{CallError, CallErrorKind};
use crate::call_budget::Source;
use crate::circuit_breaker::{Change, concerns_everybody};
use crate::connection::CredentialId;
use crate::credential::Credential;
use crate::heartbeats::differ;
use crate::queue::timing::Pace;
use crate::queue::{Answers, Queue, Span, Subscription, is_no_news};
use crate::reader::read::{Done, Outcome};
use crate::reader::{Reader, jitter};
use crate::readings::Subscriber;
use crate::schedule::JobId;
use crate::subscription::CallFailure;

impl Reader {
    /// Fails a job with the error that opened the circuit breaker, without making a call.
    pub(super) fn fail_without_a_call(&mut self, job: JobId, error: &CallError, now: Time) {
        let span = Span {
            sent: now,
            ended: now,
        };
        if let Some((_, queue)) = self.queues.get(&job) {
            let answers = queue
                .types(now)
                .into_iter()
                .map(|t| (t, Err(error.clone())))
                .collect();
            self.take_answers(job, answers, span);
        } else {
            self.take_list(job, now, |credential, _| {
                credential.page(Err(error.clone()), |_| false, span)
            });
        }
    }

    /// Handles a call that has ended.
    pub(super) fn finish(&mut self, done: Done) {
        let now = done.span.ended;
        let at = now.as_millis();
        let errors = done.outcome.errors();
        if errors
            .iter()
            .any(|error| error.kind == CallErrorKind::Throttled)
        {
            self.parts.budget.lock().halve(done.outcome.source(), at);
        }
        // One answer shows that the connection works, even if the other types failed.
        let lost = errors.iter().find(|error| concerns_everybody(error));
        let error = if done.outcome.any_answer() {
            None
        } else {
            lost.or(errors.first())
        };
        let credential_id = done.connection.credential_id();
        let change = if let Some(credential) = self.credentials.get_mut(&credential_id) {
            credential
                .breaker
                .result(error, done.probe, at, jitter(done.job, at))
        } else {
            // The credential is gone, but this call may have opened its connection again.
            self.parts.stats.release(&done.connection);
            Change::None
        };
        match done.outcome {
            Outcome::Queue {
                answers,
                past_cache: true,
            } => {
                self.take_hinted(done.job, answers, done.span);
            }
            Outcome::Queue {
                answers,
                past_cache: false,
            } => {
                self.look_again(done.job, &answers, now);
                self.take_answers(done.job, answers, done.span);
            }
            Outcome::Page(page) => self.take_list(done.job, now, |credential, wanted| {
                credential.page(page, wanted, done.span)
            }),
            Outcome::Worker(worker) => {
                self.take_list(done.job, now, |credential, _| {
                    credential.worker(worker, done.span)
                });
            }
        }
        match change {
            Change::None => {}
            Change::Lost { probe_at } => self.schedule_probe(done.job, probe_at),
            Change::Back => self.hasten_all(credential_id, at),
        }
    }

    fn schedule_probe(&mut self, job: JobId, probe_at: Millis) {
        if self.credential_id(job).is_some() {
            self.schedule.set(job, probe_at, 0);
        }
    }

    fn hasten_all(&mut self, credential_id: CredentialId, at: Millis) {
        if let Some(credential) = self.credentials.get(&credential_id) {
            self.schedule.hasten(credential.job, at);
            for job in &credential.queues {
                self.schedule.hasten(*job, at);
            }
        }
    }

    /// A read that finds the first tasks of a queue at zero may have come in the middle of a burst.
    /// So the queue is read again a moment later, past the server's cache, as after a hint.
    /// Otherwise the rest of the burst would stay invisible until the cache expires.
    fn look_again(&mut self, job: JobId, answers: &Answers, now: Time) {
        let cache = self.cache();
        if let Some((credential_id, queue)) = self.queues.get_mut(&job)
            && queue.wakes(answers)
            && let Some(credential) = self.credentials.get(credential_id)
            && credential.reads_past_cache
        {
            queue.hint(now, cache, true);
        }
    }

    fn take_answers(&mut self, job: JobId, answers: Answers, span: Span) {
        let pace = Pace {
            cache: self.cache(),
            quiet: self.quiet,
            jitter_permille: jitter(job, span.ended.as_millis()),
        };
        let Some((_, queue)) = self.queues.get_mut(&job) else {
            return;
        };
        let sequence = next_sequence(&self.parts.sequences);
        let news = queue.take(answers, span, pace.cache, sequence);
        let (due, slack) = queue.next(span.ended, pace);
        self.schedule.set(job, due, slack);
        if news {
            self.publish_backlog(job, None);
        }
    }

    /// Records the answers of a read past the server's cache. Such a read is extra: if it fails,
    /// the known values stay, and the next ordinary read comes as soon as it can return something
    /// new. If the server refuses such reads, no more are made with this credential.
    fn take_hinted(&mut self, job: JobId, mut answers: Answers, span: Span) {
        let Some((credential_id, queue)) = self.queues.get_mut(&job) else {
            return;
        };
        let errors = || {
            answers
                .iter()
                .filter_map(|(_, answer)| answer.as_ref().err())
        };
        let refused = |error: &CallError| {
            error.kind == CallErrorKind::Unsupported || error.code == "InvalidArgument"
        };
        if errors().any(refused)
            && let Some(credential) = self.credentials.get_mut(credential_id)
        {
            credential.reads_past_cache = false;
        }
        if errors().next().is_some() {
            let due = queue.cache_expires().max(span.ended.as_millis());
            self.schedule.set(job, due, 0);
            return;
        }
        let cache = millis(self.parts.config.statistics_cache);
        queue.read_past_cache(&mut answers, span, cache);
        self.take_answers(job, answers, span);
    }

    fn take_list(
        &mut self,
        job: JobId,
        now: Time,
        take: impl FnOnce(&mut Credential, &dyn Fn(&str) -> bool) -> bool,
    ) {
        let Some(credential_id) = self.lists.get(&job).copied() else {
            return;
        };
        let Some(credential) = self.credentials.get_mut(&credential_id) else {
            return;
        };
        let by_name = &self.by_name;
        let wanted = |queue: &str| by_name.contains_key(&(credential_id, queue.to_owned()));
        let whole = take(credential, &wanted);
        if !whole {
            self.schedule.set(job, now.as_millis(), 0);
            return;
        }
        let has_replicas = |job: &JobId| {
            let queue = self.queues.get(job);
            queue.is_some_and(|(_, queue)| queue.has_replicas())
        };
        credential.lists_often = credential.queues.iter().any(has_replicas);
        let config = &self.parts.config;
        let interval = if credential.lists_often {
            config.workers_interval
        } else {
            config.idle_workers_interval
        };
        let rate = self.parts.budget.lock().rate_milli(Source::Slots);
        let pause = credential.pause(millis(interval), rate, jitter(job, now.as_millis()));
        self.schedule.set(
            job,
            now.as_millis().saturating_add(pause),
            millis(interval) / 2,
        );
        let in_use: Vec<String> = credential
            .queues_in_use(now)
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut served = credential.served(now);
        for queue_job in credential.queues.clone() {
            if let Some((_, queue)) = self.queues.get_mut(&queue_job) {
                queue.serves(served.remove(&queue.name).unwrap_or_default());
                let was_busy = queue.is_busy(now);
                queue.slots_in_use = in_use.contains(&queue.name);
                if !was_busy && queue.slots_in_use {
                    self.schedule.hasten(queue_job, now.as_millis());
                }
            }
            self.publish_workers(queue_job, None);
        }
    }

    pub(super) fn publish_backlog(&self, job: JobId, only: Option<&Subscriber>) {
        let Some((_, queue)) = self.queues.get(&job) else {
            return;
        };
        let server_namespace = self.parts.server_namespace.to_string();
        for (subscriber, subscription) in selected(queue, only) {
            if let Some((reading, error)) = queue.reading(&subscription.spec) {
                let failure = error.map(|error| CallFailure::new(error, &server_namespace));
                self.parts
                    .readings
                    .publish(subscriber, subscription.watch, |latest| {
                        let news = !is_no_news(&latest.backlog, &reading, &subscription.spec);
                        latest.backlog = reading;
                        latest.backlog_failure = failure;
                        news
                    });
            }
        }
    }

    pub(super) fn publish_workers(&self, job: JobId, only: Option<&Subscriber>) {
        let Some((credential_id, queue)) = self.queues.get(&job) else {
            return;
        };
        let Some(credential) = self.credentials.get(credential_id) else {
            return;
        };
        let Some((reading, error)) = credential.reading(&queue.name) else {
            return;
        };
        let failure =
            error.map(|error| CallFailure::new(error, &self.parts.server_namespace.to_string()));
        for (subscriber, subscription) in selected(queue, only) {
            self.parts
                .readings
                .publish(subscriber, subscription.watch, |latest| {
                    let news = match (latest.workers.known(), reading.known()) {
                        (Some(before), Some(after)) => differ(before, after),
                        (None, None) => latest.workers.unknown() != reading.unknown(),
                        (Some(_), None) | (None, Some(_)) => true,
                    };
                    latest.workers = reading.clone();
                    latest.workers_failure.clone_from(&failure);
                    news
                });
        }
    }
}

fn selected<'a>(
    queue: &'a Queue,
    only: Option<&'a Subscriber>,
) -> impl Iterator<Item = (&'a Subscriber, &'a Subscription)> {
    queue
        .subscriptions
        .iter()
        .filter(move |(subscriber, _)| only.is_none_or(|only| only == *subscriber))
}

/// The next number of the sequence that all readings share.
fn next_sequence(sequences: &AtomicU64) -> u64 {
    sequences.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}
