//! A condition before it has its times, and how one is made of what is wrong with the queues. Pure.

use taskqueue_api::{ConditionType, Reason};

use crate::not_ready::NotReady;

/// The most queues that a message names; the others are counted.
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
    /// What to do about it, or that all is well.
    pub message: String,
    /// What an Event about it says, where it can say more: numbers as they were at that moment.
    pub note: Option<String>,
    /// Which generation of the spec it is about.
    pub about: About,
    /// The queue that it is about, if it is about one.
    pub queue: Option<String>,
}

/// Which generation of the spec a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The present one.
    Present,
    /// The present one, unless what was said of it before still stands.
    PresentIfNew,
    /// The one before, as it was said then. If nothing was said, the present one.
    Former,
    /// The last one whose rollout has ended: that of the present one goes on.
    RolledOut,
}

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}

impl Status {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition whose type is still open: what the queues say together.
pub(super) struct ConditionBuilder {
    pub(super) status: Status,
    pub(super) reason: Reason,
    pub(super) message: String,
    note: Option<String>,
    pub(super) about: About,
    queue: Option<String>,
}

impl ConditionBuilder {
    pub(super) fn new(status: Status, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            note: None,
            about: About::Present,
            queue: None,
        }
    }

    /// The same reason for a condition of another status.
    pub(super) fn same_reason(&self, status: Status) -> Self {
        Self {
            queue: self.queue.clone(),
            ..Self::new(status, self.reason, self.message.clone())
        }
    }

    pub(super) fn about(self, about: About) -> Self {
        Self { about, ..self }
    }

    pub(super) fn note(self, note: Option<String>) -> Self {
        Self { note, ..self }
    }

    fn queue(self, queue: Option<String>) -> Self {
        Self { queue, ..self }
    }

    /// The condition of this type.
    pub(super) fn build(self, kind: ConditionType) -> ConditionDraft {
        ConditionDraft {
            kind,
            status: self.status,
            about: match self.reason {
                // Right after a restart of the operator nothing has been read yet. What was known
                // about this generation a moment ago is worth more than that.
                Reason::Starting => About::PresentIfNew,
                _ => self.about,
            },
            reason: self.reason,
            message: self.message,
            note: self.note,
            queue: self.queue,
        }
    }
}

/// What is wrong, and the queue that it is wrong with, if it is one queue.
pub(super) type Trouble<'a> = (Option<&'a str>, NotReady);

/// The most important reason, and a message that names the queues which have it.
pub(super) fn worst(
    status: Status,
    troubles: &[Trouble<'_>],
    rank: impl Fn(Reason) -> u8,
) -> Option<ConditionBuilder> {
    let (_, first) = troubles.iter().min_by_key(|(_, why)| rank(why.reason))?;
    let same: Vec<&Trouble<'_>> = troubles
        .iter()
        .filter(|(_, why)| why.reason == first.reason)
        .collect();
    let one_message = same.iter().all(|(_, why)| why.message == first.message);
    let queue = match same.as_slice() {
        [(queue, _)] => queue.map(str::to_owned),
        _ => None,
    };
    let message = if one_message {
        let names: Vec<&str> = same.iter().filter_map(|(queue, _)| *queue).collect();
        if names.is_empty() || names.len() == troubles.len() && names.len() > NAMED {
            first.message.clone()
        } else {
            format!("{}: {}", list(&names), first.message)
        }
    } else {
        let parts = same.iter().take(NAMED).map(|(queue, why)| match queue {
            Some(queue) => format!("queue {queue}: {}", why.message),
            None => why.message.clone(),
        });
        let more = same.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("and {more} more queues"));
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
