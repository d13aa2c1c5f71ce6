//! Prints progress: one line per step with its number and its seconds. Writes to standard error
//! only.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// Without a terminal, no line can change in place: print one this often instead.
const QUIET_INTERVAL: Duration = Duration::from_secs(30);

/// Prints progress.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    terminal: bool,
    silent: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            silent: false,
        }
    }
}

impl Progress {
    /// Prints nothing: for callers that are no command.
    pub fn silent() -> Self {
        Self {
            terminal: false,
            silent: true,
        }
    }

    /// Says one line.
    pub fn say(self, line: &str) {
        if !self.silent {
            write_line(line);
        }
    }

    /// Begins a step: `number` of `total`.
    pub fn step(self, number: usize, total: usize, what: impl Into<String>) -> Step {
        let width = total.to_string().len();
        let label = format!("[{number:>width$}/{total}] {}", what.into());
        let now = Instant::now();
        Step {
            progress: self,
            label,
            began: now,
            spoke: now,
        }
    }
}

/// A step that is under way.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    label: String,
    began: Instant,
    spoke: Instant,
}

impl Step {
    /// Shows how far the step is.
    pub fn update(&mut self, detail: &str) {
        let seconds = self.began.elapsed().as_secs();
        let line = format!("{}: {detail}, {seconds} s", self.label);
        if self.progress.terminal {
            write_in_place(&line);
        } else if self.spoke.elapsed() >= QUIET_INTERVAL {
            self.spoke = Instant::now();
            self.progress.say(&line);
        }
    }

    /// Ends the step with its seconds.
    pub fn done(self, detail: &str) {
        if self.progress.terminal {
            write_in_place("");
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let separator = if detail.is_empty() { "" } else { ": " };
        self.progress.say(&format!(
            "{}{separator}{detail} ({seconds:.1} s)",
            self.label
        ));
    }
}

/// A closed terminal must not end the work, so failures to print are passed over.
fn write_line(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

fn write_in_place(line: &str) {
    let mut out = std::io::stderr().lock();
    drop(write!(out, "\r\x1b[K{line}").and_then(|()| out.flush()));
}
