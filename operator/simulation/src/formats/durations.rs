//! The durations of Azure Functions 2019: a row for each function, with percentiles in
//! milliseconds. Pure.
//!
//! Source: the schema in
//! <https://github.com/Azure/AzurePublicDataset/blob/master/AzureFunctionsDataset2019.md>. By its
//! notes the percentiles are those of averages over 30 s, without cold starts, and minimum and
//! maximum are not always recorded; those two are not read. A function may have several rows
//! (<https://github.com/Azure/AzurePublicDataset/issues/23>); the one with the most executions
//! counts.

use std::collections::HashMap;

use super::error::{TraceError, quoted};
use super::row::{Line, whole_millis};
use crate::rng::Rng;
use crate::time::Millis;

const HEADER: &str = "HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,\
    percentile_Average_0,percentile_Average_1,percentile_Average_25,percentile_Average_50,\
    percentile_Average_75,percentile_Average_99,percentile_Average_100";
/// The shares of the percentiles.
const SHARES: [f64; 7] = [0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0];
/// The columns before the percentiles.
const BEFORE: usize = 7;
/// 31 years.
const LONGEST_MILLIS: f64 = 1e12;

/// The durations of one function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Distribution {
    executions: u32,
    /// In milliseconds, at [`SHARES`].
    percentiles: [f64; SHARES.len()],
}

impl Distribution {
    /// A duration at random: between two percentiles, all are equally likely.
    pub(super) fn draw(&self, rng: &mut Rng) -> Millis {
        let share = rng.unit();
        let above = SHARES.iter().position(|upper| share <= *upper);
        let above = above.unwrap_or(SHARES.len() - 1).max(1);
        let (low, high) = (SHARES[above - 1], SHARES[above]);
        let (least, most) = (self.percentiles[above - 1], self.percentiles[above]);
        whole_millis(least + (most - least) * (share - low) / (high - low))
    }
}

/// The durations of all functions, read line by line.
#[derive(Debug, Default)]
pub struct FunctionDurations {
    lines: usize,
    begun: bool,
    /// By app and function.
    functions: HashMap<(String, String), Distribution>,
}

impl FunctionDurations {
    /// Reads the next line of the file, with or without its line break.
    pub fn line(&mut self, text: &str) -> Result<(), TraceError> {
        self.lines += 1;
        let row = Line::new("durations", self.lines, text);
        if row.text.is_empty() {
            return Ok(());
        }
        if self.begun {
            return self.row(&row);
        }
        if row.text != HEADER {
            return Err(TraceError::DurationsHeader {
                line: row.number,
                found: quoted(row.text),
                expected: HEADER,
            });
        }
        self.begun = true;
        Ok(())
    }

    fn row(&mut self, row: &Line<'_>) -> Result<(), TraceError> {
        let columns: Vec<&str> = HEADER.split(',').collect();
        let fields = row.fields(&columns)?;
        let executions = row.count(columns[4], fields[4])?;
        let mut percentiles = [0.0; SHARES.len()];
        for (index, percentile) in percentiles.iter_mut().enumerate() {
            let (column, field) = (columns[BEFORE + index], fields[BEFORE + index]);
            *percentile = match field.parse::<f64>() {
                Ok(millis) if (0.0..LONGEST_MILLIS).contains(&millis) => millis,
                _ => return Err(row.wrong(column, "milliseconds from 0 to 1e12", field)),
            };
        }
        let read = Distribution {
            executions,
            percentiles,
        };
        let key = (fields[1].to_owned(), fields[2].to_owned());
        let known = self.functions.entry(key).or_insert(read);
        if known.executions < executions {
            *known = read;
        }
        Ok(())
    }

    /// The durations of this function.
    pub(super) fn of(&self, app: &str, function: &str) -> Option<Distribution> {
        let key = (app.to_owned(), function.to_owned());
        self.functions.get(&key).copied()
    }
}
