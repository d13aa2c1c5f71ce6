//! What holds a fleet back, from its conditions: each fact once, the cause before what follows from
//! it. Pure; the time is passed in.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use taskqueue_api::Reason;
use taskqueue_scaling as scaling;

use super::age;

/// One fact, which several conditions may report.
#[derive(Debug, Clone, PartialEq)]
pub struct Held<'a> {
    /// The reason, in one word: the most telling one of the conditions.
    pub reason: &'a str,
    /// What is wrong, and what to do.
    pub message: &'a str,
    /// The conditions that report it, that with the reason first.
    pub conditions: Vec<&'a Condition>,
}

impl Held<'_> {
    /// The conditions and how long each has had its status, such as "Ready has been False for 17s,
    /// Progressing False for 69s". That is no age of the reason: another one may have given the
    /// same status before.
    pub fn standing(&self, now: Timestamp) -> String {
        let conditions = self.conditions.iter().map(|condition| Standing {
            kind: &condition.type_,
            status: &condition.status,
            since: condition.last_transition_time.0,
        });
        standing(conditions, now)
    }
}

/// A condition, its status, and since when it has that.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The type of the condition.
    pub kind: &'a str,
    /// True, False or Unknown.
    pub status: &'a str,
    /// When it last became that.
    pub since: Timestamp,
}

/// How long conditions have had their status, in words.
pub fn standing<'a>(conditions: impl IntoIterator<Item = Standing<'a>>, now: Timestamp) -> String {
    let parts = conditions
        .into_iter()
        .enumerate()
        .map(|(index, condition)| {
            let verb = if index == 0 { " has been" } else { "" };
            let Standing {
                kind,
                status,
                since,
            } = condition;
            format!("{kind}{verb} {status} for {}", age(since, now))
        });
    parts.collect::<Vec<_>>().join(", ")
}

/// The facts that these conditions report, causes first.
pub fn facts<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> Vec<Held<'a>> {
    let mut facts: Vec<Held<'a>> = Vec::new();
    for condition in conditions {
        let fact = Held {
            reason: &condition.reason,
            message: &condition.message,
            conditions: vec![condition],
        };
        match facts.iter_mut().find(|known| is_same(known, &fact)) {
            Some(known) => merge(known, fact),
            None => facts.push(fact),
        }
    }
    facts.sort_by_key(|fact| rank(fact.reason));
    facts
}

/// Whether two conditions report the same fact: one message is the other, or goes on after it with
/// more to do about it. A stalled rollout quotes the trouble of its pods under a reason of its own.
fn is_same(a: &Held<'_>, b: &Held<'_>) -> bool {
    if a.message.is_empty() || b.message.is_empty() {
        return a.reason == b.reason && a.message == b.message;
    }
    a.message.starts_with(b.message) || b.message.starts_with(a.message)
}

fn merge<'a>(known: &mut Held<'a>, other: Held<'a>) {
    if other.message.len() > known.message.len() {
        known.message = other.message;
    }
    if rank(other.reason) < rank(known.reason) {
        known.reason = other.reason;
        known.conditions.splice(0..0, other.conditions);
    } else {
        known.conditions.extend(other.conditions);
    }
}

/// The order of the reasons: what causes others has a lower rank than they have.
fn rank(word: &str) -> u8 {
    let own = Reason::OWN.iter().find(|reason| reason.as_str() == word);
    let Some(reason) = own else {
        let limits = scaling::Reason::ALL;
        let is_limit = limits.iter().any(|limit| limit.as_str() == word);
        // A newer operator may report one that this program does not know.
        return if is_limit { 7 } else { 4 };
    };
    match reason {
        // What cannot be applied, or what nothing else works without.
        Reason::InternalError
        | Reason::Forbidden
        | Reason::InvalidSpec
        | Reason::ConnectionNotFound
        | Reason::ConnectionInvalid
        | Reason::ConnectionNotAllowed
        | Reason::SecretNotFound
        | Reason::SecretUnavailable
        | Reason::SecretInvalid
        | Reason::ConfigMapNotFound
        | Reason::ConfigMapUnavailable
        | Reason::ConfigMapInvalid
        | Reason::NameConflict
        | Reason::QueueConflict
        | Reason::ScalerConflict
        | Reason::TargetNotFound
        | Reason::ApplyFailed => 0,
        Reason::ApiServerUnavailable
        | Reason::Throttled
        | Reason::Conflict
        | Reason::WebhookUnavailable
        | Reason::Expired => 1,
        // Workers fail as well while Temporal does not answer.
        Reason::TemporalAccessDenied
        | Reason::TemporalNamespaceNotFound
        | Reason::TemporalUnavailable
        | Reason::ConnectionUntried
        | Reason::BacklogUnknown => 2,
        Reason::ImagePullFailed
        | Reason::PodsFailing
        | Reason::PodsUnschedulable
        | Reason::PodsRefused
        | Reason::RolloutPaused => 3,
        // What follows from the above, and says no more than that.
        Reason::WaitingForReplicas
        | Reason::RolloutStalled
        | Reason::SlotsUnknown
        | Reason::Starting => 5,
        // Nothing has gone wrong yet.
        Reason::ExpiresSoon | Reason::WaitTargetTooShort => 6,
        Reason::RollingOut | Reason::DryRun | Reason::Paused => 7,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Conditions by type, status, reason and message; each began a second before the one before.
    fn conditions(table: &[[&str; 4]]) -> Vec<Condition> {
        let one = |(seconds, [kind, status, reason, message]): (usize, &[&str; 4])| {
            serde_json::from_value(json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": format!("2026-01-02T11:59:{:02}Z", 59 - seconds),
            }))
            .unwrap()
        };
        table.iter().enumerate().map(one).collect()
    }

    fn told(table: &[[&str; 4]]) -> Vec<[String; 3]> {
        let now = "2026-01-02T12:00:00Z".parse().unwrap();
        let conditions = conditions(table);
        let facts = facts(&conditions).into_iter();
        facts
            .map(|fact| {
                let standing = fact.standing(now);
                [fact.reason.to_owned(), standing, fact.message.to_owned()]
            })
            .collect()
    }

    #[test]
    fn a_fact_is_told_once_with_all_conditions_that_report_it() {
        let pull = "queue a: cannot pull image x";
        assert_eq!(
            told(&[
                ["Ready", "False", "ImagePullFailed", pull],
                ["Progressing", "False", "ImagePullFailed", pull],
            ]),
            [[
                "ImagePullFailed",
                "Ready has been False for 1s, Progressing False for 2s",
                pull
            ]]
        );
        let conflict = "queue a: an older fleet serves the task queue";
        assert_eq!(
            told(&[
                ["Ready", "False", "QueueConflict", conflict],
                ["Progressing", "False", "QueueConflict", conflict],
                ["ScalingActive", "False", "QueueConflict", conflict],
            ])
            .len(),
            1
        );
    }

    #[test]
    fn a_fact_under_another_reason_or_with_more_to_do_is_the_same_fact() {
        let room = "queue a: pods fit on no node";
        let more = "queue a: pods fit on no node; or set maxSurge to 0";
        let [stalled, pods] = [
            ["Progressing", "False", "RolloutStalled", more],
            ["Ready", "False", "PodsUnschedulable", room],
        ];
        assert_eq!(
            told(&[stalled, pods]),
            [[
                "PodsUnschedulable",
                "Ready has been False for 2s, Progressing False for 1s",
                more
            ]]
        );
        assert_eq!(
            told(&[pods, stalled]),
            [[
                "PodsUnschedulable",
                "Ready has been False for 1s, Progressing False for 2s",
                more
            ]]
        );
    }

    #[test]
    fn other_messages_are_other_facts_and_an_empty_one_says_nothing() {
        let told = told(&[
            ["Ready", "False", "PodsFailing", "queue a: exit code 1"],
            [
                "Progressing",
                "False",
                "PodsFailing",
                "queue b: exit code 2",
            ],
            ["ScalingActive", "False", "NotPolling", ""],
            ["CertificateExpiring", "True", "ExpiresSoon", ""],
        ]);
        assert_eq!(told.len(), 4, "{told:?}");
    }

    #[test]
    fn causes_come_before_what_follows_from_them() {
        let order = |reasons: &[&str]| {
            let rows: Vec<[&str; 4]> = reasons
                .iter()
                .map(|reason| ["Ready", "False", *reason, *reason])
                .collect();
            let told = told(&rows).into_iter();
            told.map(|[reason, ..]| reason).collect::<Vec<_>>()
        };
        assert_eq!(
            order(&[
                "MaxReplicas",
                "DryRun",
                "WaitingForReplicas",
                "RolloutStalled",
                "OfANewerOperator",
                "NotPolling",
                "ImagePullFailed",
                "TemporalUnavailable",
                "Expired",
                "QueueConflict",
            ]),
            [
                "QueueConflict",
                "Expired",
                "TemporalUnavailable",
                "ImagePullFailed",
                "OfANewerOperator",
                "NotPolling",
                "WaitingForReplicas",
                "RolloutStalled",
                "MaxReplicas",
                "DryRun",
            ]
        );
    }
}
