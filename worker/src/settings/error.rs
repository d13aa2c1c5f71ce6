//! The environment as input, and the error for an invalid variable. Pure.

use std::collections::BTreeMap;

/// Environment variables by name.
pub type Variables = BTreeMap<String, String>;

/// A missing or invalid setting. `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct SettingError {
    /// The name of the variable.
    pub variable: String,
    /// What is wrong and what is allowed. Never repeats a credential.
    pub problem: String,
}

/// An error in `variable`.
pub(super) fn wrong(variable: &str, problem: impl Into<String>) -> SettingError {
    SettingError {
        variable: variable.to_owned(),
        problem: problem.into(),
    }
}
