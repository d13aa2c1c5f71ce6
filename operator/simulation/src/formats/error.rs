//! Why a trace cannot be read, with the line, the column and the remedy. Pure.

/// The lines with which a trace may begin, for the message about any other line.
pub(super) const HEADERS: &str = "
  arrival,duration
  TIMESTAMP,ContextTokens,GeneratedTokens
  Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
  Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
  app,func,end_timestamp,duration
  HashOwner,HashApp,HashFunction,Trigger,1,2,…
or with a row: two numbers of seconds, or the nine columns of Alibaba's batch_task.csv";

/// The most characters of a line that a message quotes.
const QUOTED: usize = 60;

/// Why a trace, or the file with its durations, cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The first line is not the header or a row of any known format.
    #[error("line {line} of the trace: unknown columns {found:?}; a trace begins with{HEADERS}")]
    Header {
        /// The line number, from 1.
        line: usize,
        /// The beginning of the line.
        found: String,
    },
    /// The file of durations does not begin with its header.
    #[error(
        "line {line} of the durations: expected {expected}, found {found:?}; give \
         function_durations_percentiles.anon.dNN.csv of the same day with --durations"
    )]
    DurationsHeader {
        /// The line number, from 1.
        line: usize,
        /// The beginning of the line.
        found: String,
        /// The header.
        expected: &'static str,
    },
    /// A field is not what its column contains.
    #[error("line {line} of the {file}, column {column}: expected {expected}, found {found:?}")]
    Field {
        /// "trace" or "durations".
        file: &'static str,
        /// The line number, from 1.
        line: usize,
        /// The name of the column.
        column: String,
        /// What the column contains.
        expected: String,
        /// The beginning of the field.
        found: String,
    },
    /// A row is too short.
    #[error("line {line} of the {file}: the column {column} is missing")]
    Missing {
        /// "trace" or "durations".
        file: &'static str,
        /// The line number, from 1.
        line: usize,
        /// The name of the first column that is missing.
        column: String,
    },
    /// A row is too long.
    #[error("line {line} of the {file}: there are more columns than {last}")]
    Surplus {
        /// "trace" or "durations".
        file: &'static str,
        /// The line number, from 1.
        line: usize,
        /// The name of the last column of the format.
        last: String,
    },
    /// The file contains no task.
    #[error("the trace contains no task; give a file with a row for each task")]
    Empty,
    /// The file contains tasks, but none was chosen.
    #[error("no task of the trace is chosen; change --from, --for, --function or --sample")]
    NoneChosen,
    /// More tasks than a simulation takes.
    #[error(
        "the trace has more than {limit} tasks; take a part of it with --from and --for, or one \
         task in N with --sample N"
    )]
    TooMany {
        /// The most tasks.
        limit: usize,
    },
    /// An option that means nothing for this format.
    #[error("{flag} does not apply to a trace from {format}; omit it")]
    Unused {
        /// The flag of the option.
        flag: &'static str,
        /// The format of the trace.
        format: &'static str,
    },
    /// Invocations without the file that has their durations.
    #[error(
        "this trace has no durations; give function_durations_percentiles.anon.dNN.csv of the \
         same day with --durations"
    )]
    NoDurations,
    /// The chosen function is not in the file of durations.
    #[error("the durations do not contain {function}; choose another function with --function")]
    UnknownDuration {
        /// The function, with its app.
        function: String,
    },
    /// No function has this name.
    #[error("no function of the trace begins with {function:?}; choose another with --function")]
    NoFunction {
        /// The beginning of its name.
        function: String,
    },
    /// Several functions have this name.
    #[error(
        "{first} and {second} both begin with {function:?}; give more of the name, or APP/FUNCTION"
    )]
    Ambiguous {
        /// The beginning of their names.
        function: String,
        /// One of them, with its app.
        first: String,
        /// Another, with its app.
        second: String,
    },
}

/// The beginning of a text, for a message.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
