//! How a failed pass ends, and when it is tried again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::core::ObjectMeta;
use kube::runtime::controller::Action;
use taskqueue_api::GuardedFleet;

use super::context::{Context, Shared};
use crate::applied::Applied;
use crate::error::{Class, Error};
use crate::report::Subject;

/// Turns a panic of a pass into a counted error of its fleet alone; everything else goes on.
pub(super) async fn caught<T>(
    shared: &Shared,
    pass: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    AssertUnwindSafe(pass)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| {
            let error = Error::panicked("a reconcile", &*panic);
            shared.metrics.error(&error);
            Err(error)
        })
}

/// Ends a pass. Of several errors it returns the one to be tried again soonest.
pub(super) fn finish(applied: Applied, reported: Result<(), Error>) -> Result<(), Error> {
    let errors = applied.into_errors().into_iter().chain(reported.err());
    match errors.min_by_key(|error| error.class().wait(0)) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// When to try again after an error: by its class, later after each failure, and with jitter so
/// that fleets do not act in step. Never later than the next pass was due anyway, because the other
/// queues do not wait for this one.
#[expect(clippy::needless_pass_by_value, reason = "the controller's signature")]
pub fn error_policy(object: Arc<GuardedFleet>, error: &Error, context: Arc<Context>) -> Action {
    let metadata = Subject::of(&object).metadata;
    let (attempt, requeue_at) = context.shared.fleets.failed(metadata, error.class());
    let wait = error.class().wait(attempt);
    let wait = error
        .retry_after()
        .map_or(wait, |requested| requested.max(wait));
    let wait = wait.saturating_add(jitter(metadata, error.class()));
    let now = context.shared.clock.now().monotonic;
    // A due time in the past is the one that started this pass.
    let due = requeue_at.filter(|at| *at > now);
    let wait = due.map_or(wait, |at| wait.min(at.since(now)));
    context.shared.due(metadata, wait);
    Action::requeue(wait)
}

/// Up to a fifth of the first wait of the class, from the object's uid: stable, so that tests are
/// too.
pub(super) fn jitter(metadata: &ObjectMeta, class: Class) -> Duration {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let sum = uid.bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    class
        .wait(0)
        .saturating_mul(sum % 100)
        .checked_div(500)
        .unwrap_or_default()
}
