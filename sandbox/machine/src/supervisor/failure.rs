//! The error about a component that did not start, with the end of its log.

use std::fs;

use crate::{
    error::{Error, last_lines},
    paths::Paths,
    run::TAIL,
};

/// Describes a component that failed, with the end of its log.
pub(crate) fn failure(paths: &Paths, name: &str, why: &str) -> Error {
    let log = paths.log(name);
    let text = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let tail = last_lines(&text.unwrap_or_default(), TAIL);
    Error::Component {
        name: name.into(),
        why: why.into(),
        tail,
        log,
    }
}
