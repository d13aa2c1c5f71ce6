//! What can go wrong in a pass, classified by what to do about it. Pure.
//!
//! Missing knowledge (Temporal does not answer, a Secret does not exist) is never an `Error`: it is
//! a value in the observation, because it must not stop the other queues.

mod answer;
mod class;
mod reason;

use std::any::Any;
use std::time::Duration;

use taskqueue_kubernetes::kube_error::{Call, describe};
use taskqueue_temporal::panic_text;

use answer::Cause;

pub use class::Class;
pub use reason::ErrorReason;

/// A failed step of a pass.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("cannot {call}: {}{}", describe(source), cause(call, source).remedy())]
    Kube {
        /// The call that failed.
        call: Call,
        /// What the client returned.
        source: Box<kube::Error>,
    },
    /// An object with the name that we need belongs to somebody else.
    #[error(
        "the {kind} {namespace}/{name} already exists and is not ours: rename the queue or remove \
         that {kind}"
    )]
    NameConflict {
        /// Deployment or PodDisruptionBudget.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The object has changed since the decision; the next pass decides again.
    #[error("the workload {namespace}/{name} has changed since the decision")]
    Stale {
        /// Namespace of the Deployment.
        namespace: String,
        /// Name of the Deployment.
        name: String,
    },
    /// A broken invariant of the operator, in words.
    #[error("this is a bug in the operator: {0}")]
    Bug(String),
}

impl Error {
    /// Wraps a client error with the call that failed.
    pub fn kube(call: Call, source: kube::Error) -> Self {
        Self::Kube {
            call,
            source: Box::new(source),
        }
    }

    /// A panic of `what`, as `catch_unwind` returns it.
    pub fn panicked(what: &str, panic: &(dyn Any + Send)) -> Self {
        Self::Bug(format!("{what} panicked: {}", panic_text(panic)))
    }

    /// What to do about it.
    pub fn class(&self) -> Class {
        self.reason().class()
    }

    /// Why it failed.
    pub fn reason(&self) -> ErrorReason {
        match self {
            Self::Kube { call, source } => cause(call, source).reason(),
            Self::NameConflict { .. } => ErrorReason::NameConflict,
            Self::Stale { .. } => ErrorReason::Conflict,
            Self::Bug(_) => ErrorReason::InternalError,
        }
    }

    /// How long the API server asked to wait, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Kube { source, .. } = self else {
            return None;
        };
        let kube::Error::Api(status) = source.as_ref() else {
            return None;
        };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// Whether it is transient: it may pass by itself, soon and without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self.class() {
            Class::Throttled | Class::Unavailable | Class::Conflict => true,
            Class::Dependency => self.reason() == ErrorReason::NotFound,
            Class::Invalid | Class::Denied | Class::Bug => false,
        }
    }

    /// The error as a condition shows it: without what differs from one attempt to the next.
    pub fn condition_message(&self) -> String {
        let Self::Kube { call, source } = self else {
            return self.to_string();
        };
        match (cause(call, source), source.as_ref()) {
            (cause @ Cause::WebhookDown(name), _) => format!(
                "cannot {call}: the API server cannot call the admission webhook \"{name}\"{}",
                cause.remedy()
            ),
            // The client's wording differs: refused, timed out, closed.
            (Cause::Unavailable, source) if !matches!(source, kube::Error::Api(_)) => {
                format!("cannot {call}: the API server does not answer")
            }
            _ => self.to_string(),
        }
    }

    /// Whether the API server says that there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Kube { call, source } if cause(call, source) == Cause::Missing)
    }

    /// Whether a write was refused because the object is not as expected, or is another one.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube { call, source }
            if cause(call, source) == Cause::Conflict
                && matches!(source.as_ref(), kube::Error::Api(status) if status.code == 409))
    }
}

/// The cause of an error of the client.
fn cause<'a>(call: &Call, error: &'a kube::Error) -> Cause<'a> {
    match error {
        kube::Error::Api(status) => answer::cause(call, status),
        kube::Error::SerdeError(_)
        | kube::Error::BuildRequest(_)
        | kube::Error::HttpError(_)
        | kube::Error::FromUtf8(_) => Cause::Unexpected,
        kube::Error::Auth(_) => Cause::Right,
        // The rest is transport: connect, TLS, read, timeouts.
        _ => Cause::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, message: &str) -> Error {
        let status = kube::core::Status::failure(message, "").with_code(code);
        Error::kube(
            Call::new("apply", "Deployment", "shop", "a"),
            kube::Error::Api(status.boxed()),
        )
    }

    #[test]
    fn our_own_errors_have_a_class_and_a_reason() {
        let (namespace, name) = ("shop".to_owned(), "a".to_owned());
        let conflict = Error::NameConflict {
            kind: "Deployment",
            namespace: namespace.clone(),
            name: name.clone(),
        };
        assert_eq!(
            (conflict.class(), conflict.reason().as_str()),
            (Class::Dependency, "NameConflict")
        );
        let stale = Error::Stale { namespace, name };
        assert_eq!(
            (stale.class(), stale.reason().as_str()),
            (Class::Conflict, "Conflict")
        );
        let bug = Error::Bug("no".to_owned());
        assert_eq!(
            (bug.class(), bug.reason().as_str()),
            (Class::Bug, "InternalError")
        );
    }

    #[test]
    fn a_message_names_the_call_and_the_answer() {
        assert_eq!(
            api(422, "spec.replicas: must not be negative").to_string(),
            "cannot apply Deployment shop/a: spec.replicas: must not be negative (HTTP 422)"
        );
    }

    #[test]
    fn a_condition_shows_only_the_part_of_an_error_that_stays_the_same() {
        let down = |why: &str| {
            let answer = format!(
                "Internal error occurred: failed calling webhook \"x.test\": failed to call \
                 webhook: Post \"https://x.shop.svc:443/\": {why}"
            );
            api(500, &answer)
        };
        let refused = down("dial tcp 10.1.2.3:443: connect: connection refused");
        assert!(refused.to_string().contains("10.1.2.3"), "{refused}");
        assert_eq!(
            refused.condition_message(),
            "cannot apply Deployment shop/a: the API server cannot call the admission webhook \
             \"x.test\"; start the webhook's server again, or remove the webhook's configuration"
        );
        assert_eq!(
            refused.condition_message(),
            down("context deadline exceeded").condition_message()
        );
        let call = Call::new("apply", "Deployment", "shop", "a");
        let silent = Error::kube(call, kube::Error::LinesCodecMaxLineLengthExceeded);
        assert_eq!(
            silent.condition_message(),
            "cannot apply Deployment shop/a: the API server does not answer"
        );
        let answered = api(500, "etcd is away");
        assert_eq!(answered.condition_message(), answered.to_string());
    }

    #[test]
    fn an_outdated_definition_is_reported_with_the_remedy() {
        let unknown = "failed to create typed patch object (shop/orders; taskqueue.dev/v1alpha1, \
                       Kind=TaskQueueWorker): .status.made: field not declared in schema";
        let status = kube::core::Status::failure(unknown, "InternalError").with_code(500);
        let call = Call::new("write the status of", "TaskQueueWorker", "shop", "orders");
        let error = Error::kube(call, kube::Error::Api(status.boxed()));
        assert_eq!(
            error.to_string(),
            format!(
                "cannot write the status of TaskQueueWorker shop/orders: {unknown} (HTTP 500); \
                 the CustomResourceDefinition in the cluster is older than this operator: apply \
                 the crds/ of the operator's version, or upgrade the chart with crds.install=true"
            )
        );
    }

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<&str> = ErrorReason::ALL
            .map(ErrorReason::as_str)
            .into_iter()
            .collect();
        assert_eq!(words.len(), ErrorReason::ALL.len());
    }

    #[test]
    fn waits_grow_to_their_cap() {
        let waits: Vec<u64> = (0..8)
            .map(|attempt| Class::Unavailable.wait(attempt).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(Class::Throttled.wait(0).as_secs(), 30);
        assert_eq!(Class::Conflict.wait(9).as_secs(), 8);
        assert_eq!(Class::Bug.wait(u32::MAX).as_secs(), 600);
    }
}
