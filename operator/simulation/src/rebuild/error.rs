//! Why no trace can be rebuilt from a recording, with the metric, the time and the remedy. Pure.

use super::words::utc;

/// Why no trace can be rebuilt.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RebuildError {
    /// A sample that the operator cannot have exposed.
    #[error(
        "{metric} at {}: {problem}; leave that time out with --since and --for, or see what else \
         writes this metric",
        utc(*at)
    )]
    Sample {
        /// The name of the metric.
        metric: String,
        /// The time of the sample, in milliseconds since 1970.
        at: i64,
        /// What is wrong with it.
        problem: SampleProblem,
    },
    /// No two readings of the task queue follow each other.
    #[error(
        "from {} to {} there are no two successive values of {metrics}; choose a time in which the \
         operator ran and could read Temporal with --since and --for",
        utc(*from),
        utc(*until)
    )]
    NoReadings {
        /// The names of the metrics that are needed.
        metrics: String,
        /// The beginning of the window, in milliseconds since 1970.
        from: i64,
        /// The end of the window, in milliseconds since 1970.
        until: i64,
    },
    /// Nothing arrived.
    #[error(
        "from {} to {} no task arrived; choose a time with work with --since and --for",
        utc(*from),
        utc(*until)
    )]
    NoTasks {
        /// The beginning of the window, in milliseconds since 1970.
        from: i64,
        /// The end of the window, in milliseconds since 1970.
        until: i64,
    },
    /// More tasks than a simulation takes.
    #[error("about {tasks:.0} tasks arrived, and {limit} are allowed; take less time with --for")]
    TooMany {
        /// The tasks of the window.
        tasks: f64,
        /// The most tasks.
        limit: usize,
    },
    /// Nothing says how long a task takes.
    #[error(
        "nothing says how long a task takes: there is no value of {metrics} in this time; choose \
         another time with --since and --for"
    )]
    NoServiceTime {
        /// The names of the metrics of which one is needed.
        metrics: String,
    },
}

/// What is wrong with a sample.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum SampleProblem {
    /// It is not a number, or infinite.
    #[error("the value {0} is not a number that the operator exposes")]
    NotFinite(f64),
    /// It is below zero.
    #[error("the value {0} is negative")]
    Negative(f64),
    /// It is beyond anything that can be simulated.
    #[error("the value {value} is larger than {most}")]
    TooLarge {
        /// The value.
        value: f64,
        /// The largest value that is read.
        most: f64,
    },
    /// It has the time of the sample before it.
    #[error("there are two samples of this time")]
    Duplicate,
    /// It is earlier than the sample before it.
    #[error("the sample comes after a later one")]
    OutOfOrder,
    /// Its time is no time of a recording.
    #[error("the time is not between 1970 and 9999")]
    Time,
}
