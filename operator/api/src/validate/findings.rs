//! Collects what validation finds wrong.

use crate::fleet::Invalid;

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Invalid>);

impl Findings {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Invalid {
            path: path.into(),
            message: message.into(),
        });
    }
}
