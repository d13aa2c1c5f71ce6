//! What every format does. Pure.

use super::error::TraceError;
use super::row::Line;
use super::selection::Selection;

/// The rows of one format, after its first line has shown which one it is.
pub(super) trait Rows {
    /// The format, as reports and messages call it.
    fn name(&self) -> &'static str;

    /// What the durations or the arrivals assume, for the report.
    fn assumes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Reads one row.
    fn read(&mut self, row: &Line<'_>, tasks: &mut Selection) -> Result<(), TraceError>;

    /// Says what was missing, after the last row.
    fn end(&self) -> Result<(), TraceError> {
        Ok(())
    }
}
