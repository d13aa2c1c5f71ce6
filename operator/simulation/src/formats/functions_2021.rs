//! The Azure Functions invocation trace of 2021: a row for each invocation, with its end and its
//! duration in seconds. Pure.
//!
//! Source: the schema in
//! <https://github.com/Azure/AzurePublicDataset/blob/master/AzureFunctionsInvocationTrace2021.md>.
//! About a row in twelve has a duration of 0
//! (<https://github.com/Azure/AzurePublicDataset/issues/46>); it counts as a millisecond.
//!
//! An invocation arrives its duration before its end, possibly before the trace begins.

use super::error::TraceError;
use super::format::Rows;
use super::function::Choice;
use super::row::Line;
use super::selection::Selection;

const COLUMNS: [&str; 4] = ["app", "func", "end_timestamp", "duration"];

/// The rows of a trace in this format.
pub(super) struct Functions2021 {
    choice: Choice,
}

impl Functions2021 {
    pub(super) const fn new(function: Option<String>) -> Self {
        Self {
            choice: Choice::new(function),
        }
    }

    /// Whether this is the header.
    pub(super) fn is_header(line: &Line<'_>) -> bool {
        line.fields(&COLUMNS).is_ok_and(|fields| fields == COLUMNS)
    }
}

impl Rows for Functions2021 {
    fn name(&self) -> &'static str {
        "the Azure Functions trace of 2021"
    }

    fn read(&mut self, row: &Line<'_>, tasks: &mut Selection) -> Result<(), TraceError> {
        let fields = row.fields(&COLUMNS)?;
        let [_, _, end, duration] = COLUMNS;
        let ends = row.time(end, fields[2])?;
        let takes = row.duration(duration, fields[3])?;
        if !self.choice.takes(fields[0], fields[1])? {
            return Ok(());
        }
        tasks.add(ends.saturating_sub_unsigned(takes), takes)
    }

    fn end(&self) -> Result<(), TraceError> {
        self.choice.end()
    }
}
