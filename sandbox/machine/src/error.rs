//! Errors of the sandbox. Each names the object and the remedy. No I/O.

use std::{io, path::PathBuf};

/// An error of the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to the operating system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, with the path or address.
        what: String,
        /// What the system answered.
        source: io::Error,
    },
    /// A program that the sandbox ran did not succeed.
    #[error("{what}: {why}{}", indented(tail))]
    Command {
        /// The program and what it was run for.
        what: String,
        /// How it ended.
        why: String,
        /// The last lines that it printed.
        tail: String,
    },
    /// A component did not start.
    #[error(
        "component {name} did not start: {why}{}\n  whole log: {}",
        indented(tail),
        log.display()
    )]
    Component {
        /// Its name, as in `sandbox status`.
        name: String,
        /// How it failed.
        why: String,
        /// The end of its log.
        tail: String,
        /// Where the whole log is.
        log: PathBuf,
    },
    /// This machine cannot carry out the request; the text names the remedy.
    #[error("{0}")]
    Machine(String),
    /// The request is invalid; the text says why.
    #[error("{0}")]
    Usage(String),
    /// The sandbox is not up.
    #[error("the sandbox {0:?} is not up; start it with `cargo sandbox --name {0} up`")]
    NotUp(String),
    /// A file of the sandbox cannot be parsed.
    #[error("{what} cannot be read: {source}; `cargo sandbox clean` removes a damaged state")]
    Json {
        /// The file.
        what: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A server or program did not answer as it should.
    #[error("reading {what}: {why}")]
    Source {
        /// Which one, with its address.
        what: String,
        /// What came instead.
        why: String,
    },
    /// A certificate could not be made.
    #[error("creating certificates: {0}")]
    Pki(#[from] rcgen::Error),
}

impl Error {
    /// An answer that could not be understood.
    pub fn source(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Source {
            what: what.into(),
            why: why.into(),
        }
    }
}

/// The result of a call into the sandbox.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds the attempted action to an error of the operating system.
pub trait Attempt<T> {
    /// `what` says what was attempted, for example `reading /etc/hosts`.
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what(),
            source: source.into(),
        })
    }
}

/// The last `lines` lines of a text.
pub fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn indented(text: &str) -> String {
    text.lines()
        .fold(String::new(), |out, line| out + "\n    " + line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_component_is_named_with_the_end_of_its_log() {
        let error = Error::Component {
            name: "etcd".into(),
            why: "it exited with status 1".into(),
            tail: last_lines("one\ntwo\nthree\n", 2),
            log: "/state/log/etcd.log".into(),
        };
        assert_eq!(
            error.to_string(),
            "component etcd did not start: it exited with status 1\n    two\n    three\n  whole \
             log: /state/log/etcd.log"
        );
    }
}
