//! Errors of the demo. Each names what was not reached and where to look. No I/O.

/// An error of the demo.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sandbox, or a program that was run, failed.
    #[error(transparent)]
    Sandbox(#[from] sandbox_machine::Error),
    /// The file of orders cannot be used; the text names the line and the field.
    #[error("{0}")]
    Orders(String),
    /// A wait timed out.
    #[error("{what}")]
    NotReached {
        /// What was waited for, for how long, and how far it came.
        what: String,
        /// Diagnostics: objects, events, the ends of logs. [`run`](crate::run) prints it.
        state: String,
    },
    /// The data read back differ from what the orders ask for; the summary names the orders.
    #[error("{0} findings; the lines above name them and their orders")]
    Mismatch(usize),
    /// What Prometheus scraped does not show the scaling.
    #[error("the metrics in Prometheus do not show the expected scaling:\n{0}")]
    Metrics(String),
}

/// The result of a step of the demo.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An answer that could not be understood.
    pub(crate) fn source(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Sandbox(sandbox_machine::Error::source(what, why))
    }
}
