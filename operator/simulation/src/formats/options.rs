//! How a trace is read. Pure.

use super::durations::FunctionDurations;
use super::tokens::TokenTimes;
use crate::time::Millis;

/// The most tasks of a trace. All policies together take 10 to 20 s for as many, and 130 MiB.
pub const MAX_TASKS: usize = 1_000_000;

/// How a trace is read. The default takes all of it.
#[derive(Debug)]
pub struct ReadOptions {
    /// Take the tasks that arrive this long after the beginning, and later ones. Default: from the
    /// earliest one.
    pub from: Option<Millis>,
    /// Take the tasks of a span of this length. Default: to the last one.
    pub length: Option<Millis>,
    /// Take one task in this many, chosen at random with a fixed seed. 0 counts as 1.
    pub sample: u32,
    /// Only for Azure Functions: the function, by the beginning of its name or of `APP/FUNCTION`.
    /// Default: all.
    pub function: Option<String>,
    /// Only for Azure Functions 2019, which needs them: the durations of the functions.
    pub durations: Option<FunctionDurations>,
    /// Only for traces of tokens: how long the tokens take. Default: see [`TokenTimes`].
    pub token_times: Option<TokenTimes>,
    /// The most tasks to take. Default: [`MAX_TASKS`].
    pub limit: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            from: None,
            length: None,
            sample: 1,
            function: None,
            durations: None,
            token_times: None,
            limit: MAX_TASKS,
        }
    }
}
