//! Alibaba's cluster trace of 2018, `batch_task.csv`: a row for each task of a batch job, without a
//! header. Pure.
//!
//! Source: <https://github.com/alibaba/clusterdata/blob/master/cluster-trace-v2018/schema.txt> for
//! the columns and `trace_2018.md` beside it for the unit (seconds since the beginning). The end is
//! 0 in some rows (<https://github.com/alibaba/clusterdata/issues/167>); they are left out, and so
//! is every task that has not terminated.
//!
//! A row is one task that arrives when it starts, whatever its number of instances.

use super::error::TraceError;
use super::format::Rows;
use super::row::Line;
use super::selection::Selection;

const COLUMNS: [&str; 9] = [
    "task_name",
    "instance_num",
    "job_name",
    "task_type",
    "status",
    "start_time",
    "end_time",
    "plan_cpu",
    "plan_mem",
];
const ENDED: &str = "Terminated";
const NOT_ENDED: &str = "tasks that have not terminated";
const NO_END: &str = "tasks that end before they start";

/// The rows of a trace in this format.
pub(super) struct Alibaba;

impl Alibaba {
    /// Whether this is a row: nine columns, with a number, a word and a time where they belong.
    pub(super) fn is_row(line: &Line<'_>) -> bool {
        let number = |field: &str| field.parse::<u64>().is_ok();
        line.fields(&COLUMNS).is_ok_and(|fields| {
            let word = !fields[4].is_empty() && fields[4].chars().all(char::is_alphabetic);
            number(fields[1]) && word && (fields[5].is_empty() || number(fields[5]))
        })
    }
}

impl Rows for Alibaba {
    fn name(&self) -> &'static str {
        "the Alibaba cluster trace of 2018"
    }

    fn read(&mut self, row: &Line<'_>, tasks: &mut Selection) -> Result<(), TraceError> {
        let fields = row.fields(&COLUMNS)?;
        let [_, _, _, _, _, start, end, _, _] = COLUMNS;
        let starts = row.time(start, fields[5]);
        if fields[4] != ENDED {
            // It may not have a start either.
            tasks.leave_out(starts.unwrap_or(0), 1, NOT_ENDED);
            return Ok(());
        }
        let starts = starts?;
        let ends = row.time(end, fields[6])?;
        match u64::try_from(ends - starts) {
            Ok(takes) => tasks.add(starts, takes.max(1))?,
            Err(_) => tasks.leave_out(starts, 1, NO_END),
        }
        Ok(())
    }
}
