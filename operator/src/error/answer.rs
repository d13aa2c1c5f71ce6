//! What an answer of the API server means: from a call and its answer to one cause. Pure.
//!
//! The message and the reason take precedence over the code: a webhook may deny with any code, and
//! a wrong template is refused with 400, 422 or 500, depending on which part of the server notices.

use kube::core::Status;
use taskqueue_kubernetes::kube_error::Call;

use super::reason::ErrorReason;

/// Why the API server did not carry out a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause<'a> {
    /// An admission webhook denied the request.
    Webhook(&'a str),
    /// An admission policy denied the request.
    Policy(&'a str),
    /// Another admission rule denied the request.
    Admission,
    /// A quota is exhausted.
    Quota,
    /// A mandatory admission webhook cannot be called.
    WebhookDown(&'a str),
    /// What the user wrote is not a valid object.
    Object,
    /// The CustomResourceDefinition in the cluster is not the operator's.
    Definition,
    /// The operator lacks a permission.
    Right,
    /// There is no such object, or no such kind.
    Missing,
    /// Somebody else wrote first, or the namespace is being deleted.
    Conflict,
    /// The API server asks to slow down.
    Throttled,
    /// The API server is in trouble or does not answer.
    Unavailable,
    /// The operator sent an invalid request.
    Unexpected,
}

impl Cause<'_> {
    /// The reason, in one word.
    pub(super) const fn reason(self) -> ErrorReason {
        match self {
            Self::Webhook(_) | Self::Policy(_) | Self::Admission => ErrorReason::AdmissionDenied,
            Self::Quota => ErrorReason::QuotaExceeded,
            Self::WebhookDown(_) => ErrorReason::WebhookUnavailable,
            Self::Object => ErrorReason::TemplateRefused,
            Self::Definition => ErrorReason::DefinitionOutdated,
            Self::Right => ErrorReason::AccessDenied,
            Self::Missing => ErrorReason::NotFound,
            Self::Conflict => ErrorReason::Conflict,
            Self::Throttled => ErrorReason::Throttled,
            Self::Unavailable => ErrorReason::ApiServerUnavailable,
            Self::Unexpected => ErrorReason::InternalError,
        }
    }

    /// The remedy, if the answer does not contain it.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::WebhookDown(_) => {
                "; start the webhook's server again, or remove the webhook's configuration"
            }
            Self::Definition => {
                "; the CustomResourceDefinition in the cluster is older than this operator: apply \
                 the crds/ of the operator's version, or upgrade the chart with crds.install=true"
            }
            _ => "",
        }
    }
}

/// The cause of an answer to a call.
pub(super) fn cause<'a>(call: &Call, status: &'a Status) -> Cause<'a> {
    let message = status.message.as_str();
    admission(message)
        .or_else(|| invalid(call, message))
        .unwrap_or_else(|| by_reason(call, status))
}

/// Recognises the answers of admission rules by their message, whatever the code.
fn admission(message: &str) -> Option<Cause<'_>> {
    // A webhook's own words follow its name, so the beginning is the API server's.
    if let Some(rest) = message.strip_prefix("admission webhook \"") {
        let (name, said) = rest.split_once('"')?;
        return said
            .starts_with(" denied the request")
            .then_some(Cause::Webhook(name));
    }
    if let Some((_, rest)) = message.split_once("failed calling webhook \"") {
        return Some(Cause::WebhookDown(rest.split_once('"')?.0));
    }
    // "ValidatingAdmissionPolicy 'x' with binding 'y' denied request: ..." follows what was asked
    // for.
    let (_, rest) = message.split_once("olicy '")?;
    let (name, said) = rest.split_once('\'')?;
    said.contains("denied request")
        .then_some(Cause::Policy(name))
}

/// Phrases with which the server rejects an invalid object, with 400 or with 500.
const NO_OBJECT: [&str; 7] = [
    "failed to create typed patch object",
    "field not declared in schema",
    "quantities must match the regular expression",
    "unable to parse quantity",
    "duplicate entries for key",
    "strict decoding error",
    "etcdserver: request is too large",
];

fn invalid<'a>(call: &Call, message: &str) -> Option<Cause<'a>> {
    NO_OBJECT
        .iter()
        .any(|words| message.contains(words))
        .then(|| wrong_object(call))
}

/// Decides whose mistake an object is that the server rejects.
fn wrong_object<'a>(call: &Call) -> Cause<'a> {
    match (call.kind.as_ref(), call.verb) {
        // The operator writes only the status, and builds all of it, so the definition does not
        // fit.
        ("TaskQueueWorker", _) => Cause::Definition,
        // The pod template and the budget are the user's; everything else in these is fixed.
        ("Deployment", "create" | "apply") | ("PodDisruptionBudget", "apply") => Cause::Object,
        _ => Cause::Unexpected,
    }
}

fn by_reason<'a>(call: &Call, status: &Status) -> Cause<'a> {
    match (status.reason.as_str(), status.code) {
        ("Forbidden", _) => forbidden(&status.message),
        ("NotFound", _) => Cause::Missing,
        ("AlreadyExists" | "Conflict", _) => Cause::Conflict,
        ("Invalid" | "BadRequest" | "RequestEntityTooLarge", _) => wrong_object(call),
        ("TooManyRequests", _) => Cause::Throttled,
        ("InternalError" | "ServerTimeout" | "ServiceUnavailable" | "Timeout", _) => {
            Cause::Unavailable
        }
        ("Unauthorized", _) | (_, 401) => Cause::Right,
        (_, 403) => forbidden(&status.message),
        (_, 404) => Cause::Missing,
        (_, 409) => Cause::Conflict,
        (_, 400 | 413 | 422) => wrong_object(call),
        (_, 429) => Cause::Throttled,
        (_, 408 | 500..) => Cause::Unavailable,
        _ => Cause::Unexpected,
    }
}

/// The authorizer, quotas and every admission plugin answer with 403.
fn forbidden<'a>(message: &str) -> Cause<'a> {
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(&["being terminated"]) {
        // Everything in the namespace is going away, the fleet too.
        Cause::Conflict
    } else if says(&["exceeded quota", "failed quota", "insufficient quota"]) {
        Cause::Quota
    } else if says(&["\" cannot ", "cannot set blockOwnerDeletion"]) || !says(&["is forbidden: "]) {
        Cause::Right
    } else {
        Cause::Admission
    }
}

#[cfg(test)]
mod tests;
