//! Azure Functions 2019: a row for each function and a column for each minute of a day, with the
//! invocations in it. Pure.
//!
//! Source: the schema in
//! <https://github.com/Azure/AzurePublicDataset/blob/master/AzureFunctionsDataset2019.md>. A
//! function may have several rows, and several hundred functions a day have no durations
//! (<https://github.com/Azure/AzurePublicDataset/issues/23>): the rows add up, and what has no
//! duration is left out.
//!
//! The invocations of a minute arrive at random times within it, as those of a Poisson process of
//! which the number is known; their durations are drawn from the percentiles. Both seeds are fixed.
//! By the notes there an invocation is counted after it has run; here the minute is that of its
//! arrival.

use super::durations::FunctionDurations;
use super::error::TraceError;
use super::format::Rows;
use super::function::Choice;
use super::row::Line;
use super::selection::Selection;
use crate::rng::Rng;

const COLUMNS: [&str; 4] = ["HashOwner", "HashApp", "HashFunction", "Trigger"];
const MINUTES_OF_A_DAY: u32 = 1440;
/// In milliseconds.
const MINUTE: u32 = 60_000;
const ARRIVALS_SEED: u64 = 2;
const DURATIONS_SEED: u64 = 3;
const UNKNOWN: &str = "invocations of functions without durations";

/// The rows of a trace in this format.
pub(super) struct Functions2019 {
    minutes: u32,
    choice: Choice,
    durations: FunctionDurations,
    arrivals_rng: Rng,
    durations_rng: Rng,
}

impl Functions2019 {
    pub(super) fn new(
        minutes: u32,
        function: Option<String>,
        durations: FunctionDurations,
    ) -> Self {
        Self {
            minutes,
            choice: Choice::new(function),
            durations,
            arrivals_rng: Rng::new(ARRIVALS_SEED),
            durations_rng: Rng::new(DURATIONS_SEED),
        }
    }

    /// If this is the header, the number of its minutes.
    pub(super) fn minutes(line: &Line<'_>) -> Option<u32> {
        let mut fields = line.text.split(',').map(str::trim);
        if !fields.by_ref().take(COLUMNS.len()).eq(COLUMNS) {
            return None;
        }
        let mut minutes = 0;
        for field in fields {
            minutes += 1;
            if field.parse() != Ok(minutes) {
                return None;
            }
        }
        (1..=MINUTES_OF_A_DAY).contains(&minutes).then_some(minutes)
    }
}

impl Rows for Functions2019 {
    fn name(&self) -> &'static str {
        "the Azure Functions trace of 2019"
    }

    fn assumes(&self) -> Vec<String> {
        vec![
            "the invocations of a minute are spread at random over it, and their durations drawn \
             from the percentiles"
                .to_owned(),
        ]
    }

    fn read(&mut self, row: &Line<'_>, tasks: &mut Selection) -> Result<(), TraceError> {
        let mut fields = row.text.split(',').map(str::trim);
        let mut names = [""; COLUMNS.len()];
        for (name, column) in names.iter_mut().zip(COLUMNS) {
            *name = fields.next().ok_or_else(|| row.missing(column))?;
        }
        let [_, app, function, _] = names;
        let chosen = self.choice.takes(app, function)?;
        let durations = self.durations.of(app, function);
        if chosen && durations.is_none() && self.choice.is_one() {
            return Err(TraceError::UnknownDuration {
                function: format!("{app}/{function}"),
            });
        }
        for minute in 1..=self.minutes {
            let field = fields.next().ok_or_else(|| row.missing(minute))?;
            let begin = i64::from(MINUTE * (minute - 1));
            if !chosen || field == "0" || !tasks.overlaps(begin, begin + i64::from(MINUTE)) {
                continue;
            }
            let count = row.count(minute, field)?;
            let Some(durations) = &durations else {
                tasks.leave_out(begin, count, UNKNOWN);
                continue;
            };
            tasks.add_many(count, || {
                let after = self.arrivals_rng.below(MINUTE as usize) as u32;
                (
                    begin + i64::from(after),
                    durations.draw(&mut self.durations_rng),
                )
            })?;
        }
        if fields.next().is_some() {
            return Err(row.surplus(self.minutes));
        }
        Ok(())
    }

    fn end(&self) -> Result<(), TraceError> {
        self.choice.end()
    }
}
