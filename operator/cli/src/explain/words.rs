//! The words of an explanation that its sections share. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use taskqueue_api::Reason;
use taskqueue_scaling as scaling;

use crate::output::{WIDTH, wrapped};

/// A labelled value, in as many lines as it needs.
pub(super) fn fact(label: &str, value: &str) -> String {
    let mut lines = wrapped(value, "", WIDTH - 16).into_iter();
    let mut text = format!("{label:<14}{}", lines.next().unwrap_or_default());
    for line in lines {
        // Writing to a String does not fail.
        _ = write!(text, "\n  {:<14}{line}", "");
    }
    text
}

/// A reason, with its meaning if it is known.
pub(super) fn with_meaning(word: &str) -> String {
    let limits = scaling::Reason::ALL.into_iter();
    let meaning = limits
        .map(|reason| (reason.as_str(), reason.describe()))
        .chain(
            Reason::OWN
                .iter()
                .map(|reason| (reason.as_str(), reason.describe())),
        )
        .find(|(name, _)| *name == word);
    match meaning {
        Some((_, meaning)) => format!("{word} ({meaning})"),
        None => word.to_owned(),
    }
}

/// A point in time.
pub(super) fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Breaks a text into lines of at most [`WIDTH`] characters.
pub(super) fn broken(text: &str, indent: &str) -> Vec<String> {
    wrapped(text, indent, WIDTH)
}
