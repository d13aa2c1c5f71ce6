//! One line of a file, split at its commas. Pure.
//!
//! Why not the crate csv: none of the formats has a quote, and a field never contains a comma or a
//! line break.

use std::fmt::Display;

use super::error::{TraceError, quoted};
use crate::time::Millis;

/// A million seconds after a thousand million: later than any Unix time until the year 2286.
const LATEST_SECONDS: f64 = 1e10;
/// 31 years.
const LONGEST_SECONDS: f64 = 1e9;

/// A line of a file, without the spaces around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// "trace" or "durations".
    pub(super) file: &'static str,
    /// From 1.
    pub(super) number: usize,
    pub(super) text: &'a str,
}

impl<'a> Line<'a> {
    /// The line of this number, with or without its line break.
    pub(super) fn new(file: &'static str, number: usize, text: &'a str) -> Self {
        // Spreadsheets put a byte order mark first.
        let text = match text.strip_prefix('\u{feff}') {
            Some(marked) if number == 1 => marked,
            _ => text,
        };
        Self {
            file,
            number,
            text: text.trim(),
        }
    }

    /// The fields of a row that has exactly these columns.
    pub(super) fn fields(&self, columns: &[&str]) -> Result<Vec<&'a str>, TraceError> {
        let fields: Vec<&str> = self.text.split(',').map(str::trim).collect();
        if let Some(column) = columns.get(fields.len()) {
            return Err(self.missing(column));
        }
        if fields.len() > columns.len() {
            return Err(self.surplus(columns.last().unwrap_or(&"")));
        }
        Ok(fields)
    }

    /// The error about a row that ends before this column.
    pub(super) fn missing(&self, column: impl Display) -> TraceError {
        TraceError::Missing {
            file: self.file,
            line: self.number,
            column: column.to_string(),
        }
    }

    /// The error about a row that goes on after its last column.
    pub(super) fn surplus(&self, last: impl Display) -> TraceError {
        TraceError::Surplus {
            file: self.file,
            line: self.number,
            last: last.to_string(),
        }
    }

    /// The error about a field of this column.
    pub(super) fn wrong(
        &self,
        column: impl Display,
        expected: impl Display,
        found: &str,
    ) -> TraceError {
        TraceError::Field {
            file: self.file,
            line: self.number,
            column: column.to_string(),
            expected: expected.to_string(),
            found: quoted(found),
        }
    }

    /// A time in seconds since the beginning of the trace or since 1970, in milliseconds.
    pub(super) fn time(&self, column: &str, field: &str) -> Result<i64, TraceError> {
        match field.parse::<f64>() {
            Ok(seconds) if (0.0..LATEST_SECONDS).contains(&seconds) => {
                Ok((seconds * 1000.0).round() as i64)
            }
            _ => Err(self.wrong(column, "seconds from 0 to 1e10", field)),
        }
    }

    /// A duration in seconds, in milliseconds. Zero counts as one millisecond.
    pub(super) fn duration(&self, column: &str, field: &str) -> Result<Millis, TraceError> {
        match field.parse::<f64>() {
            Ok(seconds) if (0.0..LONGEST_SECONDS).contains(&seconds) => {
                Ok(whole_millis(seconds * 1000.0))
            }
            _ => Err(self.wrong(column, "seconds from 0 to 1e9", field)),
        }
    }

    /// A number of things.
    pub(super) fn count(&self, column: impl Display, field: &str) -> Result<u32, TraceError> {
        let parsed = field.parse();
        parsed.map_err(|_| self.wrong(column, "a whole number from 0 to 4294967295", field))
    }
}

/// Rounded, at least one: a task that takes no time has no place in a queue.
pub(super) fn whole_millis(millis: f64) -> Millis {
    (millis.round() as Millis).max(1)
}
