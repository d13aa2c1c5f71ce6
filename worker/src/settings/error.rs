//! The environment that is passed in, and what is said of a wrong variable. Pure.

use std::collections::BTreeMap;

/// The environment as a map.
pub type Variables = BTreeMap<String, String>;

/// A setting that is missing or wrong. `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct SettingError {
    /// The variable.
    pub variable: String,
    /// What is wrong and what is allowed. Never repeats a credential.
    pub problem: String,
}

/// A mistake in `variable`.
pub(super) fn wrong(variable: &str, problem: impl Into<String>) -> SettingError {
    SettingError {
        variable: variable.to_owned(),
        problem: problem.into(),
    }
}
