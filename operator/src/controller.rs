//! One pass over a fleet: the table of contents of the operator.

mod context;
mod errors;
mod spec;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use taskqueue_api::GuardedFleet;

use crate::carry_over;
use crate::clock::Moment;
use crate::connection_check::{self, ConnectionCheck};
use crate::error::Error;
use crate::fleets::owner_of;
use crate::observe;
use crate::report::conditions::blocked;
use crate::report::{Pass, Subject, log};

pub use context::{Context, Shared};
pub use errors::error_policy;

/// How soon a fleet gets another pass whose connection has not been listed yet.
const UNLISTED: Duration = Duration::from_secs(1);

/// Runs one pass over one fleet, as soon as this process may write.
///
/// # Errors
/// If something could not be written, or the pass panicked. What could not be read is not an error;
/// it is part of the report.
pub async fn reconcile(object: Arc<GuardedFleet>, context: Arc<Context>) -> Result<Action, Error> {
    let Some(after) = timed_pass(&object, &context).await? else {
        return Ok(Action::await_change());
    };
    context.shared.due(Subject::of(&object).metadata, after);
    Ok(Action::requeue(after))
}

/// Runs one pass, counts it and times it. Returns after how long the next one is due; `None` if
/// only a change can need one.
async fn timed_pass(object: &GuardedFleet, context: &Context) -> Result<Option<Duration>, Error> {
    context.started().await;
    let shared = &context.shared;
    if !shared.leading.begun().await {
        return Ok(None);
    }
    let began = shared.clock.now();
    let subject = Subject::of(object);
    let fleet = owner_of(subject.metadata);
    let _running = shared.metrics.work_queue().begin(fleet, began.monotonic);
    if subject.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    // On the heap, because it is large and every fleet in work has one.
    let pass = Box::pin(pass(&subject, object, context, began));
    let pass = errors::caught(shared, pass);
    let result = tokio::select! {
        biased;
        () = shared.leading.ended() => {
            // Writes in progress may or may not have taken effect: they are repeated.
            shared.fleets.state(subject.metadata).lock().await.forget_writes();
            return Ok(Some(Duration::ZERO));
        }
        result = pass => result,
    };
    let took = shared.clock.now().monotonic.since(began.monotonic);
    shared.metrics.pass(took, result.is_ok());
    if result.is_ok() {
        shared.fleets.succeeded(subject.metadata);
    }
    if !context.exists(subject.metadata) {
        shared.forget(subject.metadata);
    }
    result
}

/// validate, observe, plan, apply, report.
async fn pass(
    subject: &Subject<'_>,
    object: &GuardedFleet,
    context: &Context,
    now: Moment,
) -> Result<Option<Duration>, Error> {
    let shared = &context.shared;
    let state = shared.fleets.state(subject.metadata);
    let state = &mut *state.lock().await;

    // validate: pure. A refused spec is reported, and nothing else is touched.
    let fleet = match spec::accepted(object, state, now) {
        Ok(fleet) => fleet,
        Err(message) => {
            let reported = shared.reports.refused(subject, &message, state, now).await;
            return carry_over::status(state, reported)
                .map(|()| None)
                .inspect_err(|error| shared.metrics.error(error));
        }
    };
    let fleet = &*fleet;
    // A kind that has not been listed yet says nothing about its objects: the fleet stays as it is.
    if observe::connection::is_pending(fleet, &context.caches) {
        return Ok(Some(UNLISTED));
    }

    // observe: reads caches and Secrets, and those Deployments that this process wrote and the
    // caches do not show.
    let mut late = writes::late(state, now).await;
    let created = context::created(subject.metadata);
    let mut observed = observe::observe(&context.sources(), fleet, created, now).await;
    let fleet = observed.with_graces(fleet);
    let fleet = &*fleet;
    writes::look_for_unseen(&shared.writer, fleet, &mut observed, state).await;
    let skip = connection_check::is_skipped(subject.metadata);
    let check = state.connection_check.take();
    // While a Secret was read, readings with the former credential may still have come in.
    let observed_at = shared.clock.now().monotonic;
    state.connection_check = ConnectionCheck::after(check, &observed, skip, observed_at);

    // plan: pure. apply: writes owned objects. Both are repeated if a Deployment has changed
    // meanwhile.
    let (plan, mut applied) =
        writes::plan_and_apply(shared, fleet, &mut observed, state, now).await;
    applied.add(&mut late);

    carry_over::workers(fleet, &observed, state, now);

    // report: writes status and Events, sets metrics, logs.
    let pass = Pass {
        fleet,
        observed: &observed,
        plan: &plan,
        applied: &applied,
    };
    let report = shared.reports.pass(subject, &pass, state, now).await;
    let reported = carry_over::report(state, &pass, report, now);
    log::changes(&plan, &applied);
    let errors = applied.errors().chain(applied.forgotten());
    let errors = errors.chain(reported.as_ref().err());
    errors.for_each(|error| shared.metrics.error(error));

    let requeue_after = plan
        .requeue_after
        .min(spec::until_schedule(state, now))
        .min(blocked::until_reported(state, now.monotonic));
    let due = now.monotonic.plus(requeue_after);
    shared.fleets.requeue_at(subject.metadata, due);
    errors::finish(applied, reported).map(|()| Some(requeue_after))
}

#[cfg(test)]
mod tests;
