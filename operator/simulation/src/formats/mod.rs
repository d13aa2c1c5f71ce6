//! The formats of traces: this project's own, and those of public datasets. Pure: the lines of the
//! file are passed in, one by one, so that a file need not fit into memory.
//!
//! A format is recognised by the first line, which is the header where there is one. Empty lines,
//! and lines that begin with `#`, are skipped. A row that does not fit its format is an error,
//! unless its dataset is known to have such rows; the module of each format says where it is
//! described.

mod alibaba;
mod azure_llm;
mod burst_gpt;
mod durations;
mod error;
mod format;
mod function;
mod functions_2019;
mod functions_2021;
mod options;
mod own;
mod row;
mod selection;
mod timestamp;
mod tokens;

pub use durations::FunctionDurations;
pub use error::TraceError;
pub use options::{MAX_TASKS, ReadOptions};
pub use tokens::{TokenTimes, TokenTimesError};

use crate::trace::Trace;
use alibaba::Alibaba;
use azure_llm::AzureLlm;
use burst_gpt::BurstGpt;
use error::quoted;
use format::Rows;
use functions_2019::Functions2019;
use functions_2021::Functions2021;
use own::Own;
use row::Line;
use selection::Selection;

/// A trace as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceFile {
    /// The tasks.
    pub trace: Trace,
    /// What a reader of the results should know: what is assumed, and what is left out. A sentence
    /// each, without a full stop.
    pub notes: Vec<String>,
}

/// Reads a trace line by line.
pub struct TraceReader {
    options: ReadOptions,
    tasks: Selection,
    lines: usize,
    rows: Option<Box<dyn Rows>>,
}

impl TraceReader {
    /// A reader of a file of which no line has been read.
    pub fn new(options: ReadOptions) -> Self {
        let ReadOptions {
            from,
            length,
            sample,
            limit,
            ..
        } = options;
        Self {
            options,
            tasks: Selection::new(from, length, sample, limit),
            lines: 0,
            rows: None,
        }
    }

    /// Reads the next line of the file, with or without its line break.
    pub fn line(&mut self, text: &str) -> Result<(), TraceError> {
        self.lines += 1;
        let line = Line::new("trace", self.lines, text);
        if line.text.is_empty() || line.text.starts_with('#') {
            return Ok(());
        }
        if let Some(rows) = &mut self.rows {
            return rows.read(&line, &mut self.tasks);
        }
        let (mut rows, is_row) = recognise(&line, &mut self.options)?;
        self.refuse_unused(rows.name())?;
        if is_row {
            rows.read(&line, &mut self.tasks)?;
        }
        self.rows = Some(rows);
        Ok(())
    }

    /// The format has taken the options that it understands.
    fn refuse_unused(&self, format: &'static str) -> Result<(), TraceError> {
        let ReadOptions {
            function,
            durations,
            token_times,
            ..
        } = &self.options;
        for (flag, left) in [
            ("--function", function.is_some()),
            ("--durations", durations.is_some()),
            ("--token-times", token_times.is_some()),
        ] {
            if left {
                return Err(TraceError::Unused { flag, format });
            }
        }
        Ok(())
    }

    /// The trace, after the last line.
    pub fn finish(self, name: &str) -> Result<TraceFile, TraceError> {
        let rows = self.rows.ok_or(TraceError::Empty)?;
        rows.end()?;
        let (trace, left_out) = self.tasks.finish(name, rows.name())?;
        let mut notes = rows.assumes();
        notes.extend(left_out);
        Ok(TraceFile { trace, notes })
    }
}

/// The format of a file with this first line, and whether the line is a row already.
fn recognise(
    line: &Line<'_>,
    options: &mut ReadOptions,
) -> Result<(Box<dyn Rows>, bool), TraceError> {
    if Own::is_header(line) {
        return Ok((Box::new(Own), false));
    }
    if AzureLlm::is_header(line) {
        let times = options.token_times.take().unwrap_or_default();
        return Ok((Box::new(AzureLlm { times }), false));
    }
    if let Some(rows) = BurstGpt::after(line, options.token_times.unwrap_or_default()) {
        options.token_times = None;
        return Ok((Box::new(rows), false));
    }
    if Functions2021::is_header(line) {
        let rows = Functions2021::new(options.function.take());
        return Ok((Box::new(rows), false));
    }
    if let Some(minutes) = Functions2019::minutes(line) {
        let durations = options.durations.take().ok_or(TraceError::NoDurations)?;
        let rows = Functions2019::new(minutes, options.function.take(), durations);
        return Ok((Box::new(rows), false));
    }
    if Alibaba::is_row(line) {
        return Ok((Box::new(Alibaba), true));
    }
    if Own::is_row(line) {
        return Ok((Box::new(Own), true));
    }
    Err(TraceError::Header {
        line: line.number,
        found: quoted(line.text),
    })
}
