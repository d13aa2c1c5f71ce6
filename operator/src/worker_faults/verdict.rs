//! What a rule says about the workers of a queue. Plain data.

/// What a rule says about the workers of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They do it wrong.
    Fault {
        /// The pod that shows it.
        pod: String,
        /// What was seen, as a clause.
        evidence: String,
    },
    /// They do it right.
    Fine,
    /// Too little is known.
    Open,
}
