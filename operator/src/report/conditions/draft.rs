//! A condition before it has its times, and how it is built from the troubles of the queues. Pure.

use taskqueue_api::{ConditionType, Reason};

use crate::not_ready::NotReady;

/// Maximum number of queues named in a message; the others are counted.
const NAMED: usize = 5;

/// One condition, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionDraft {
    /// Which condition.
    pub kind: ConditionType,
    /// True, False or Unknown.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// What is wrong and what to do about it, or that all is well.
    pub message: String,
    /// The text of its Event, if that can say more than the message: with numbers as of that
    /// moment.
    pub note: Option<String>,
    /// Which generation of the spec it is about.
    pub about: ObservedGeneration,
    /// The queue concerned, if it is one queue.
    pub queue: Option<String>,
}

/// Which generation of the spec a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObservedGeneration {
    /// The current one.
    Current,
    /// The current one, unless the status already has this condition for it: then that one is kept.
    KeepExisting,
    /// An earlier one: the condition in the status is kept. If there is none, the current one.
    KeepPrevious,
    /// The last one that was completely rolled out: the rollout of the current one is in progress.
    LastRolledOut,
}

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is unknown.
    Unknown,
}

impl Status {
    /// The status as Kubernetes spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition without its type: a summary of the queues.
pub(super) struct ConditionBuilder {
    pub(super) status: Status,
    pub(super) reason: Reason,
    pub(super) message: String,
    note: Option<String>,
    pub(super) about: ObservedGeneration,
    queue: Option<String>,
}

impl ConditionBuilder {
    pub(super) fn new(status: Status, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            note: None,
            about: ObservedGeneration::Current,
            queue: None,
        }
    }

    /// A condition with the same reason, message and queue, but another status.
    pub(super) fn same_reason(&self, status: Status) -> Self {
        Self {
            queue: self.queue.clone(),
            ..Self::new(status, self.reason, self.message.clone())
        }
    }

    pub(super) fn about(self, about: ObservedGeneration) -> Self {
        Self { about, ..self }
    }

    pub(super) fn note(self, note: Option<String>) -> Self {
        Self { note, ..self }
    }

    fn queue(self, queue: Option<String>) -> Self {
        Self { queue, ..self }
    }

    /// The finished condition of this type.
    pub(super) fn build(self, kind: ConditionType) -> ConditionDraft {
        ConditionDraft {
            kind,
            status: self.status,
            about: match self.reason {
                // Right after a restart of the operator, nothing has been read yet. The last
                // condition of this generation says more than that.
                Reason::Starting => ObservedGeneration::KeepExisting,
                _ => self.about,
            },
            reason: self.reason,
            message: self.message,
            note: self.note,
            queue: self.queue,
        }
    }
}

/// One cause of a condition.
#[derive(Clone)]
pub(super) struct Cause<'a> {
    /// The queue that it concerns; `None` if it concerns the whole fleet.
    pub(super) queue: Option<&'a str>,
    /// Reason and message.
    pub(super) why: NotReady,
}

impl<'a> Cause<'a> {
    /// A cause that concerns one queue.
    pub(super) fn of_queue(queue: &'a str, why: NotReady) -> Self {
        let queue = Some(queue);
        Self { queue, why }
    }
}

/// A condition with the most important reason, the one with the lowest rank, and a message that
/// names the queues with that reason. `None` without causes.
pub(super) fn worst(
    status: Status,
    causes: &[Cause<'_>],
    rank: impl Fn(Reason) -> u8,
) -> Option<ConditionBuilder> {
    let first = causes.iter().min_by_key(|cause| rank(cause.why.reason))?;
    let first = &first.why;
    let same: Vec<&Cause<'_>> = causes
        .iter()
        .filter(|cause| cause.why.reason == first.reason)
        .collect();
    let one_message = same.iter().all(|cause| cause.why.message == first.message);
    let queue = match same.as_slice() {
        [cause] => cause.queue.map(str::to_owned),
        _ => None,
    };
    let message = if one_message {
        let names: Vec<&str> = same.iter().filter_map(|cause| cause.queue).collect();
        if names.is_empty() || names.len() == causes.len() && names.len() > NAMED {
            first.message.clone()
        } else {
            format!("{}: {}", list(&names), first.message)
        }
    } else {
        let parts = same.iter().take(NAMED).map(|cause| match cause.queue {
            Some(queue) => format!("queue {queue}: {}", cause.why.message),
            None => cause.why.message.clone(),
        });
        let more = same.len().saturating_sub(NAMED);
        let noun = if more == 1 { "queue" } else { "queues" };
        let more = (more > 0).then(|| format!("and {more} more {noun}"));
        parts.chain(more).collect::<Vec<_>>().join("; ")
    };
    Some(ConditionBuilder::new(status, first.reason, message).queue(queue))
}

fn list(names: &[&str]) -> String {
    match names {
        [one] => format!("queue {one}"),
        many if many.len() <= NAMED => format!("queues {}", many.join(", ")),
        many => {
            let (first, rest) = many.split_at(NAMED);
            format!("queues {} and {} more", first.join(", "), rest.len())
        }
    }
}

#[cfg(test)]
mod tests;
