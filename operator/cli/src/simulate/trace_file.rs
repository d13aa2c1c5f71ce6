//! The trace of `simulate`: its flags, and the file. Reads files, line by line, because a public
//! trace may be larger than the memory; `taskqueue-simulation` knows the formats.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use taskqueue_api::{DurationString, duration_between};
use taskqueue_simulation::{
    FunctionDurations, Millis, ReadOptions, TokenTimes, TraceError, TraceFile, TraceReader,
};

/// The longest trace: 31 days. More takes minutes to compute, and most likely has another unit of
/// time.
pub(super) const LONGEST: Millis = 31 * 86_400_000;
/// The longest line, in bytes: ten times a row with the invocations of each minute of a day.
const LONGEST_LINE: usize = 1 << 17;
/// The longest time of a flag.
pub(super) const YEAR: Duration = Duration::from_hours(24 * 365);

/// The flags about the trace.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TraceArguments {
    /// The tasks: a CSV file with the arrival and the duration of each, in seconds, or a file of a
    /// public dataset.
    #[arg(
        long,
        value_name = "FILE.csv",
        required_unless_present = "from_prometheus"
    )]
    pub trace: Option<PathBuf>,

    /// Take the tasks from this time after the beginning of the trace, such as 18h30m.
    #[arg(long, value_name = "TIME", value_parser = duration_between(Duration::ZERO, YEAR))]
    pub from: Option<DurationString>,

    /// Take the tasks of this span only, such as 1h.
    #[arg(
        long = "for",
        value_name = "TIME",
        value_parser = duration_between(Duration::from_secs(1), YEAR)
    )]
    pub length: Option<DurationString>,

    /// Take one task in N, chosen at random, the same ones in each run.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub sample: u32,

    /// Azure Functions: one function, by the beginning of its name or of APP/FUNCTION. Default:
    /// all.
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,

    /// Azure Functions 2019: the file function_durations_percentiles.anon.dNN.csv of the same day.
    #[arg(long, value_name = "FILE.csv")]
    pub durations: Option<PathBuf>,

    /// Traces of tokens: the milliseconds of a request, a token of context and a generated token.
    /// Default: 50,0.2,30.
    #[arg(long, value_name = "MS,MS,MS")]
    pub token_times: Option<TokenTimes>,
}

impl TraceArguments {
    /// Reads the file of the durations, if there is one, and then the trace. Its name is that of
    /// its file, without the ending.
    pub(super) fn read(&self) -> anyhow::Result<TraceFile> {
        let path = self.trace.as_ref().context("--trace is missing")?;
        let name = path.file_stem().map_or_else(
            || "trace".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let durations = match &self.durations {
            Some(path) => Some(read_durations(path)?),
            None => None,
        };
        let options = ReadOptions {
            from: self.from.map(DurationString::as_millis),
            length: self.length.map(DurationString::as_millis),
            sample: self.sample,
            function: self.function.clone(),
            durations,
            token_times: self.token_times,
            ..ReadOptions::default()
        };
        let file = open(path, "--trace")?;
        read_trace(&name, file, options).with_context(|| path.display().to_string())
    }
}

fn read_durations(path: &Path) -> anyhow::Result<FunctionDurations> {
    let mut durations = FunctionDurations::default();
    each_line(open(path, "--durations")?, |line| durations.line(line))
        .with_context(|| path.display().to_string())?;
    Ok(durations)
}

fn open(path: &Path, flag: &str) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| {
        format!(
            "cannot read {}; give a readable text file with {flag}",
            path.display()
        )
    })?;
    Ok(BufReader::new(file))
}

/// Reads the tasks, and refuses a trace that would take too long.
pub(super) fn read_trace(
    name: &str,
    file: impl BufRead,
    options: ReadOptions,
) -> anyhow::Result<TraceFile> {
    let mut reader = TraceReader::new(options);
    each_line(file, |line| reader.line(line))?;
    let read = reader.finish(name)?;
    let longest = read.trace.tasks.iter().map(|task| task.takes).max();
    for (what, value) in [
        ("its last arrival is after", Some(read.trace.until)),
        ("its longest task takes", longest),
    ] {
        let value = value.unwrap_or(0);
        ensure!(
            value <= LONGEST,
            "the trace is too long: {what} {} days, and 31 are allowed; take a part of it with \
             --from and --for, or convert it to seconds if it is in milliseconds",
            value / 86_400_000
        );
    }
    Ok(read)
}

/// Passes on the lines of a file, one at a time.
fn each_line(
    mut file: impl BufRead,
    mut read: impl FnMut(&str) -> Result<(), TraceError>,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let most = LONGEST_LINE as u64 + 1;
        let bytes = file.by_ref().take(most).read_until(b'\n', &mut line);
        let remedy = || format!("line {number} cannot be read; give a readable text file");
        if bytes.with_context(remedy)? == 0 {
            break;
        }
        let text = str::from_utf8(&line).ok();
        match text.filter(|text| text.len() <= LONGEST_LINE) {
            Some(text) => read(text)?,
            None => bail!(
                "line {number} is not a line of a text file; unpack the file if it is an archive"
            ),
        }
    }
    Ok(())
}
