//! Why a step of a pass failed, in one word. Pure.

use super::class::Class;

/// Why a step of a pass failed; the label `reason` of `reconcile_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorReason {
    /// What the user wrote is not a valid object.
    TemplateRefused,
    /// The CustomResourceDefinition in the cluster is not the operator's.
    DefinitionOutdated,
    /// An object with the name that we need belongs to somebody else.
    NameConflict,
    /// There is no such object, or no such kind.
    NotFound,
    /// The operator lacks a permission.
    AccessDenied,
    /// An admission rule denied the request.
    AdmissionDenied,
    /// A quota is exhausted.
    QuotaExceeded,
    /// The API server asks to slow down.
    Throttled,
    /// The API server is in trouble or does not answer.
    ApiServerUnavailable,
    /// A mandatory admission webhook cannot be called.
    WebhookUnavailable,
    /// Somebody else wrote first, or the namespace is being deleted.
    Conflict,
    /// The operator sent an invalid request, or broke an invariant of its own.
    InternalError,
}

impl ErrorReason {
    /// Every reason, sorted by class.
    pub const ALL: [Self; 12] = [
        Self::TemplateRefused,
        Self::DefinitionOutdated,
        Self::NameConflict,
        Self::NotFound,
        Self::AccessDenied,
        Self::AdmissionDenied,
        Self::QuotaExceeded,
        Self::Throttled,
        Self::ApiServerUnavailable,
        Self::WebhookUnavailable,
        Self::Conflict,
        Self::InternalError,
    ];

    /// The reasons of one class.
    pub fn of(class: Class) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |reason| reason.class() == class)
    }

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TemplateRefused => "TemplateRefused",
            Self::DefinitionOutdated => "DefinitionOutdated",
            Self::NameConflict => "NameConflict",
            Self::NotFound => "NotFound",
            Self::AccessDenied => "AccessDenied",
            Self::AdmissionDenied => "AdmissionDenied",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::Throttled => "Throttled",
            Self::ApiServerUnavailable => "ApiServerUnavailable",
            Self::WebhookUnavailable => "WebhookUnavailable",
            Self::Conflict => "Conflict",
            Self::InternalError => "InternalError",
        }
    }

    /// What to do about it.
    pub const fn class(self) -> Class {
        match self {
            Self::TemplateRefused => Class::Invalid,
            Self::DefinitionOutdated | Self::NameConflict | Self::NotFound => Class::Dependency,
            Self::AccessDenied | Self::AdmissionDenied | Self::QuotaExceeded => Class::Denied,
            Self::Throttled => Class::Throttled,
            Self::ApiServerUnavailable | Self::WebhookUnavailable => Class::Unavailable,
            Self::Conflict => Class::Conflict,
            Self::InternalError => Class::Bug,
        }
    }
}
