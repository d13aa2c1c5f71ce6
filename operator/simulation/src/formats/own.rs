//! This project's own format: a row for each task, with its arrival and its duration in seconds.
//! Pure.
//!
//! The header `arrival,duration` may be absent. If the first arrival is later than eleven days, the
//! arrivals are Unix times, and the trace begins with it.

use super::error::TraceError;
use super::format::Rows;
use super::row::Line;
use super::selection::Selection;

const COLUMNS: [&str; 2] = ["arrival", "duration"];
/// In milliseconds.
const UNIX_TIMES: i64 = 1_000_000_000;

/// The rows of a trace in this format.
pub(super) struct Own;

impl Own {
    /// Whether this is the header.
    pub(super) fn is_header(line: &Line<'_>) -> bool {
        line.fields(&COLUMNS)
            .is_ok_and(|fields| fields.iter().map(|f| f.to_ascii_lowercase()).eq(COLUMNS))
    }

    /// Whether this is a row: it begins as a number does. A mistyped number is not a header.
    pub(super) fn is_row(line: &Line<'_>) -> bool {
        line.fields(&COLUMNS).is_ok()
            && line
                .text
                .starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
    }
}

impl Rows for Own {
    fn name(&self) -> &'static str {
        "a file of arrivals and durations"
    }

    fn read(&mut self, row: &Line<'_>, tasks: &mut Selection) -> Result<(), TraceError> {
        let fields = row.fields(&COLUMNS)?;
        let [arrival, duration] = COLUMNS;
        let arrives = row.time(arrival, fields[0])?;
        let takes = row.duration(duration, fields[1])?;
        tasks.begin(if arrives >= UNIX_TIMES { arrives } else { 0 });
        tasks.add(arrives, takes)
    }
}
