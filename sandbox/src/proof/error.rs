//! What can go wrong while something is proven, in words that say what was not reached and where to look. No I/O.

use crate::demo;

/// An error of a proof.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sandbox, or a program that was run, failed.
    #[error(transparent)]
    Sandbox(#[from] crate::Error),
    /// One of the places that are read did not answer as it should.
    #[error("reading {what}: {why}")]
    Source {
        /// Which place, with its address.
        what: String,
        /// What came instead.
        why: String,
    },
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
    Broken(String),
}

/// The result of a step of a proof.
pub(in crate::proof) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An answer that could not be understood.
    pub(in crate::proof) fn source(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Source {
            what: what.into(),
            why: why.into(),
        }
    }
}

impl From<demo::Error> for Error {
    fn from(error: demo::Error) -> Self {
        match error {
            demo::Error::Sandbox(error) => Self::Sandbox(error),
            demo::Error::Source { what, why } => Self::Source { what, why },
            other => Self::Broken(other.to_string()),
        }
    }
}
