//! Why a scrape failed. Plain data.

/// Why a pod's metrics yield no slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The connection failed or broke.
    Unreachable,
    /// No complete answer in time.
    Timeout,
    /// An HTTP status other than success.
    Status,
    /// The answer is larger than the limit.
    TooLarge,
    /// The answer is not in the metrics text format, or its values make no sense.
    Malformed,
    /// Metrics without the slots of this task queue.
    NoSlots,
    /// The operator panicked over the answer: a bug of ours.
    Panicked,
}

impl Failure {
    /// All failures.
    pub const ALL: [Self; 7] = [
        Self::Unreachable,
        Self::Timeout,
        Self::Status,
        Self::TooLarge,
        Self::Malformed,
        Self::NoSlots,
        Self::Panicked,
    ];

    /// The value of the metric's label `result`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Status => "http_status",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::NoSlots => "no_slots",
            Self::Panicked => "panicked",
        }
    }

    /// What is wrong and what to check, as a sentence fragment.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "the connection fails; check the port and the network policies of the workers"
            }
            Self::Timeout => "no answer arrives in time; check the network policies of the workers",
            Self::Status => "the HTTP status is not 200; check the port",
            Self::TooLarge => "the answer is larger than 4 MiB",
            Self::Malformed => "the answer is not in the metrics text format; check the port",
            Self::NoSlots => {
                "the metrics contain no temporal_worker_task_slots_used of this task queue; check \
                 that the port serves the SDK's metrics"
            }
            Self::Panicked => "the operator panicked over the answer; please report it",
        }
    }
}
