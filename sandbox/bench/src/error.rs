//! Errors of a measurement. Each names what was not reached and where to look. No I/O.

/// An error of a measurement.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sandbox, or a program that was run, failed.
    #[error(transparent)]
    Sandbox(#[from] sandbox_machine::Error),
    /// A wait timed out.
    #[error("{what}\n{state}")]
    NotReached {
        /// What was waited for, and for how long.
        what: String,
        /// Diagnostics: objects, events, the end of the operator's log.
        state: String,
    },
    /// A promise was broken; the text names the workflows.
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
