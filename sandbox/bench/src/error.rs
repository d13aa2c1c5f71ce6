//! Errors of a measurement. Each names what was not reached and where to look. No I/O.

/// An error of a measurement.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sandbox, or a program that was run, failed.
    #[error(transparent)]
    Sandbox(#[from] sandbox_machine::Error),
    /// Something that should have happened did not, within the time that was given for it.
    #[error("{what}\n{state}")]
    NotReached {
        /// What was waited for, and for how long.
        what: String,
        /// The state of things: objects, events, the end of the operator's log.
        state: String,
    },
    /// What was seen is not what is promised; the text names the workflows.
    #[error("{0}")]
    Violated(String),
}

/// The result of a step of a measurement.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An answer that could not be understood.
    pub(crate) fn source(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Sandbox(sandbox_machine::Error::source(what, why))
    }
}
