//! Why a scrape finds nothing. Plain data.

/// Why the metrics of a pod say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// No connection, or one that broke.
    Unreachable,
    /// No whole answer in time.
    Timeout,
    /// Another HTTP status than success.
    Status,
    /// A larger answer than is read.
    TooLarge,
    /// An answer that is no metrics text, or makes no sense.
    Malformed,
    /// Metrics without the slots of this task queue.
    NoSlots,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::Timeout,
        Self::Status,
        Self::TooLarge,
        Self::Malformed,
        Self::NoSlots,
    ];

    /// The label of the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Status => "http_status",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::NoSlots => "no_slots",
        }
    }

    /// What to look at, as a half sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "nothing can be reached there; check the port and the network policies of the workers"
            }
            Self::Timeout => "no answer comes in time; check the network policies of the workers",
            Self::Status => "another HTTP status than 200 is answered; check the port",
            Self::TooLarge => "the answer is larger than 4 MiB",
            Self::Malformed => "the answer is no metrics text",
            Self::NoSlots => {
                "the metrics hold no temporal_worker_task_slots_used of this task queue; check that the SDK's metrics are served there"
            }
        }
    }
}
