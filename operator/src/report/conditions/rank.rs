//! The order of reasons if a condition has several causes: the lowest rank comes first. Pure.

use taskqueue_api::Reason;

/// For `Ready` and the conditions about rollouts: what a person must fix first comes first.
pub(super) fn ready(reason: Reason) -> u8 {
    match reason {
        Reason::InternalError => 0,
        Reason::Forbidden => 1,
        Reason::ConnectionNotFound
        | Reason::ConnectionInvalid
        | Reason::ConnectionNotAllowed
        | Reason::InvalidSpec
        | Reason::ConnectionUntried
        | Reason::SecretNotFound
        | Reason::SecretUnavailable
        | Reason::SecretInvalid
        | Reason::ConfigMapNotFound
        | Reason::ConfigMapUnavailable
        | Reason::ConfigMapInvalid => 2,
        Reason::ApplyFailed | Reason::NameConflict | Reason::TargetNotFound => 3,
        Reason::QueueConflict | Reason::ScalerConflict => 4,
        Reason::WebhookUnavailable => 5,
        Reason::ApiServerUnavailable | Reason::Throttled | Reason::Conflict => 6,
        Reason::WaitingForReplicas => 8,
        _ => 7,
    }
}

/// For the conditions about scaling.
pub(super) fn scaling(reason: Reason) -> u8 {
    match reason {
        Reason::TemporalAccessDenied | Reason::TemporalNamespaceNotFound => 2,
        Reason::TemporalUnavailable => 3,
        Reason::BacklogUnknown => 4,
        Reason::NotPolling => 5,
        Reason::QueueNotPolled => 6,
        Reason::VersionNotCurrent => 7,
        Reason::BacklogGrowsWithFreeSlots => 8,
        Reason::Starting => 9,
        Reason::Paused => 10,
        Reason::DryRun => 11,
        Reason::SlotsUnknown => 12,
        Reason::WaitTargetTooShort => 13,
        // All other reasons hold back the whole queue.
        _ => 1,
    }
}
