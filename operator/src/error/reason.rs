//! Why a step of a pass failed, in one word. Pure.

use super::class::Class;

/// Why a step of a pass failed; the label `reason` of `reconcile_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorReason {
    /// What the user wrote is no valid object.
    TemplateRefused,
    /// The CustomResourceDefinition in the cluster is not the operator's.
    DefinitionOutdated,
    /// An object of the name we need belongs to someone else.
    NameConflict,
    /// There is no such object, or no such kind.
    NotFound,
    /// The operator lacks a right.
    AccessDenied,
    /// An admission rule denied the request.
    AdmissionDenied,
    /// A quota has no room.
    QuotaExceeded,
    /// The server asks to slow down.
    Throttled,
    /// The server is in trouble.
    ApiServerUnavailable,
    /// An admission webhook that has to be asked cannot be called.
    WebhookUnavailable,
    /// Someone else wrote first.
    Conflict,
    /// The operator asked for something that makes no sense.
    InternalError,
}

impl ErrorReason {
    /// All of them, by class.
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

    /// Those of one class.
    pub fn of(class: Class) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |reason| reason.class() == class)
    }

    /// The word.
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
