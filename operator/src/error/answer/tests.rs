//! Complete answers of API servers of Kubernetes 1.36.

use super::super::{Class, Error};
use super::*;

/// An apply of the Deployment that gets this answer.
fn apply(code: u16, reason: &str, message: &str) -> Error {
    answered("apply", "Deployment", code, reason, message)
}

fn answered(
    verb: &'static str,
    kind: &'static str,
    code: u16,
    reason: &str,
    message: &str,
) -> Error {
    let status = Status::failure(message, reason).with_code(code);
    Error::kube(
        Call::new(verb, kind, "shop", "a"),
        kube::Error::Api(status.boxed()),
    )
}

const WEBHOOK: &str = "admission webhook \"policy.test\" denied the request: policy says no";
const WEBHOOK_MUTE: &str =
    "admission webhook \"policy.test\" denied the request without explanation";
const POLICY: &str = "deployments.apps \"a\" is forbidden: ValidatingAdmissionPolicy 'needs-team' \
                      with binding 'needs-team' denied request: a team label is needed";
const MUTATING: &str = "deployments.apps \"a\" is forbidden: MutatingAdmissionPolicy 'labels' \
                        with binding 'b' denied request: no such key";
const WEBHOOK_DOWN: &str = "Internal error occurred: failed calling webhook \"nobody.home.test\": \
                            failed to call webhook: Post \
                            \"https://none.cases.svc:443/?timeout=2s\": service \"none\" not found";
const TYPED: &str = "failed to create typed patch object (shop/a; apps/v1, Kind=Deployment): \
                     errors:\n  .spec.template.spec.containers[name=\"worker\"].ports: duplicate \
                     entries for key [containerPort=9090,protocol=\"TCP\"]";
const UNKNOWN: &str = "failed to create typed patch object (shop/a; apps/v1, Kind=Deployment): \
                       .spec.template.spec.hostnameOverride: field not declared in schema";
const QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const QUOTA: &str = "deployments.apps \"a\" is forbidden: exceeded quota: all, requested: \
                     count/deployments.apps=1, used: count/deployments.apps=4, limited: \
                     count/deployments.apps=4";
const RIGHT: &str = "deployments.apps \"a\" is forbidden: User \
                     \"system:serviceaccount:taskqueue-system:taskqueue-operator\" cannot patch \
                     resource \"deployments\" in API group \"apps\" in the namespace \"shop\"";
const OWNER: &str = "deployments.apps \"a\" is forbidden: cannot set blockOwnerDeletion if an \
                     ownerReference refers to a resource you can't set finalizers on: , <nil>";
const LIMITS: &str = "deployments.apps \"a\" is forbidden: [maximum memory usage per Container is \
                      1Gi, but limit is 2Gi]";
const TERMINATING: &str = "deployments.apps \"a\" is forbidden: unable to create new content in \
                           namespace shop because it is being terminated";
const MODIFIED: &str = "Operation cannot be fulfilled on deployments.apps \"a\": the object has \
                        been modified; please apply your changes to the latest version and try \
                        again";

#[test]
fn every_answer_is_classified_by_its_message_and_not_by_its_code() {
    let denied = (Class::Denied, "AdmissionDenied");
    let refused = (Class::Invalid, "TemplateRefused");
    let right = (Class::Denied, "AccessDenied");
    let away = (Class::Unavailable, "ApiServerUnavailable");
    let conflict = (Class::Conflict, "Conflict");
    let table = [
        // A webhook chooses its code, and gets 400 if it chooses none.
        (400, "", WEBHOOK, denied),
        (400, "BadRequest", WEBHOOK_MUTE, denied),
        (403, "Forbidden", WEBHOOK, denied),
        (404, "NotFound", WEBHOOK, denied),
        (409, "", WEBHOOK, denied),
        (422, "Invalid", WEBHOOK, denied),
        (429, "", WEBHOOK, denied),
        (500, "", WEBHOOK, denied),
        (503, "", WEBHOOK, denied),
        // A policy does so too.
        (401, "Unauthorized", POLICY, denied),
        (403, "Forbidden", POLICY, denied),
        (413, "RequestEntityTooLarge", POLICY, denied),
        (422, "Invalid", POLICY, denied),
        (422, "Invalid", MUTATING, denied),
        (403, "Forbidden", LIMITS, denied),
        (
            500,
            "InternalError",
            WEBHOOK_DOWN,
            (Class::Unavailable, "WebhookUnavailable"),
        ),
        // The template is the user's.
        (422, "Invalid", "spec.template: Required value", refused),
        (500, "InternalError", TYPED, refused),
        (500, "InternalError", UNKNOWN, refused),
        (500, "InternalError", QUANTITY, refused),
        (400, "BadRequest", QUANTITY, refused),
        (400, "", "no such field", refused),
        (
            413,
            "",
            "Request entity too large: limit is 3145728",
            refused,
        ),
        (500, "", "etcdserver: request is too large", refused),
        (403, "Forbidden", QUOTA, (Class::Denied, "QuotaExceeded")),
        (401, "Unauthorized", "Unauthorized", right),
        (403, "Forbidden", RIGHT, right),
        (403, "Forbidden", OWNER, right),
        (403, "", "", right),
        (403, "Forbidden", TERMINATING, conflict),
        (409, "Conflict", MODIFIED, conflict),
        (409, "AlreadyExists", "already exists", conflict),
        (404, "NotFound", "", (Class::Dependency, "NotFound")),
        (429, "TooManyRequests", "", (Class::Throttled, "Throttled")),
        (429, "", "", (Class::Throttled, "Throttled")),
        (408, "", "", away),
        (500, "InternalError", "etcd is away", away),
        (503, "ServiceUnavailable", "", away),
        (504, "Timeout", "", away),
        (405, "MethodNotAllowed", "", (Class::Bug, "InternalError")),
    ];
    for (code, reason, message, expected) in table {
        let error = apply(code, reason, message);
        let found = (error.class(), error.reason().as_str());
        assert_eq!(found, expected, "{code} {reason}: {message}");
        let mut of_class = ErrorReason::of(expected.0);
        assert!(of_class.any(|reason| reason.as_str() == expected.1));
    }
}

#[test]
fn an_admission_rule_that_denies_is_named() {
    let call = Call::new("apply", "Deployment", "shop", "a");
    let named = |message: &str| {
        let status = Status::failure(message, "");
        match cause(&call, &status) {
            Cause::Webhook(name) | Cause::Policy(name) | Cause::WebhookDown(name) => {
                name.to_owned()
            }
            other => format!("{other:?}"),
        }
    };
    assert_eq!(
        [WEBHOOK, WEBHOOK_MUTE, POLICY, MUTATING, WEBHOOK_DOWN].map(named),
        [
            "policy.test",
            "policy.test",
            "needs-team",
            "labels",
            "nobody.home.test"
        ]
    );
}

#[test]
fn a_denial_is_not_a_conflict_and_does_not_mean_that_an_object_is_gone() {
    for code in [404, 409] {
        let denied = apply(code, "", WEBHOOK);
        assert!(!denied.is_conflict() && !denied.is_not_found(), "{code}");
    }
    assert!(apply(409, "Conflict", MODIFIED).is_conflict());
    assert!(!apply(403, "Forbidden", TERMINATING).is_conflict());
    assert!(apply(404, "NotFound", "").is_not_found());
}

#[test]
fn only_what_the_user_wrote_can_be_the_users_mistake() {
    let bug = (Class::Bug, "InternalError");
    let definition = (Class::Dependency, "DefinitionOutdated");
    let table = [
        ("create", "Deployment", (Class::Invalid, "TemplateRefused")),
        (
            "apply",
            "PodDisruptionBudget",
            (Class::Invalid, "TemplateRefused"),
        ),
        ("finish creating", "Deployment", bug),
        ("scale", "Deployment", bug),
        ("annotate", "Pod", bug),
        ("write the status of", "TaskQueueWorker", definition),
    ];
    for (verb, kind, expected) in table {
        let error = answered(verb, kind, 422, "Invalid", "must be more");
        assert_eq!(
            (error.class(), error.reason().as_str()),
            expected,
            "{verb} {kind}"
        );
    }
}

#[test]
fn transient_errors_are_distinguished_from_those_that_somebody_must_fix() {
    let passing = [
        (404, "NotFound", ""),
        (409, "Conflict", MODIFIED),
        (429, "", ""),
        (500, "", ""),
        (500, "", WEBHOOK_DOWN),
    ];
    for (code, reason, message) in passing {
        assert!(
            apply(code, reason, message).is_transient(),
            "{code} {message}"
        );
    }
    let lasting = [
        (403, "", RIGHT),
        (403, "", QUOTA),
        (409, "", WEBHOOK),
        (422, "", ""),
        (500, "", TYPED),
        (405, "", ""),
    ];
    for (code, reason, message) in lasting {
        assert!(
            !apply(code, reason, message).is_transient(),
            "{code} {message}"
        );
    }
}
