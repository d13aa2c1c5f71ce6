//! BurstGPT: a row for each request to a language model, with its time, its tokens and, in later
//! files, the seconds until its answer was complete. Pure.
//!
//! Sources: the schema in <https://github.com/HPMLL/BurstGPT>, `README.md`; the order of the
//! columns in the releases <https://github.com/HPMLL/BurstGPT/releases/tag/v1.1> (six) and
//! <https://github.com/HPMLL/BurstGPT/releases/tag/v2.0> (eight), as other readers of these files
//! quote it.
//!
//! By that README a request without a token in its answer has failed. How long it took is not
//! known, so it is left out.

use super::error::TraceError;
use super::format::Rows;
use super::row::Line;
use super::selection::Selection;
use super::tokens::TokenTimes;

const FIRST: [&str; 6] = [
    "Timestamp",
    "Model",
    "Request tokens",
    "Response tokens",
    "Total tokens",
    "Log Type",
];
const LATER: [&str; 8] = [
    "Timestamp",
    "Session ID",
    "Elapsed time",
    "Model",
    "Request tokens",
    "Response tokens",
    "Total tokens",
    "Log Type",
];
const FAILED: &str = "requests that failed, by their 0 response tokens";

/// The rows of a trace in this format.
pub(super) struct BurstGpt {
    times: TokenTimes,
    columns: &'static [&'static str],
}

impl BurstGpt {
    /// If this is the header, the rows after it.
    pub(super) fn after(header: &Line<'_>, times: TokenTimes) -> Option<Self> {
        let is = |columns: &&&[&str]| {
            header
                .fields(columns)
                .is_ok_and(|fields| fields == **columns)
        };
        let columns = [FIRST.as_slice(), LATER.as_slice()];
        let columns = *columns.iter().find(is)?;
        Some(Self { times, columns })
    }

    fn has_elapsed(&self) -> bool {
        self.columns.len() == LATER.len()
    }
}

impl Rows for BurstGpt {
    fn name(&self) -> &'static str {
        "BurstGPT"
    }

    fn assumes(&self) -> Vec<String> {
        if self.has_elapsed() {
            return Vec::new();
        }
        vec![self.times.assumption()]
    }

    fn read(&mut self, row: &Line<'_>, tasks: &mut Selection) -> Result<(), TraceError> {
        let fields = row.fields(self.columns)?;
        let last = self.columns.len() - 1;
        let arrives = row.time(FIRST[0], fields[0])?;
        let request = row.count(FIRST[2], fields[last - 3])?;
        let response = row.count(FIRST[3], fields[last - 2])?;
        tasks.begin(arrives);
        if response == 0 {
            tasks.leave_out(arrives, 1, FAILED);
            return Ok(());
        }
        let takes = if self.has_elapsed() && !fields[2].is_empty() {
            row.duration(LATER[2], fields[2])?
        } else {
            self.times.of(request, response)
        };
        tasks.add(arrives, takes)
    }
}
