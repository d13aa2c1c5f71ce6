//! The live table on a terminal, drawn in place, or as blocks of lines where there is no terminal.
//! Writes to standard output.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::table::Snapshot;

/// Without a terminal a new block is printed at most this often, and only if something changed.
const BLOCK_INTERVAL: Duration = Duration::from_secs(5);

/// Where the demo prints.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    /// Lines of the table now on the terminal.
    drawn: usize,
    printed: Option<(Instant, Snapshot)>,
}

impl Screen {
    /// Standard output, whatever it is.
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            drawn: 0,
            printed: None,
        }
    }

    /// Prints text below the table.
    pub(crate) fn print(&mut self, text: &str) {
        self.drawn = 0;
        write(text);
    }

    /// Shows the table. `last` prints it whatever was printed before.
    pub(crate) fn show(&mut self, snapshot: &Snapshot, elapsed: Duration, last: bool) {
        if self.terminal {
            self.draw(&snapshot.render(elapsed));
            return;
        }
        let due = match &self.printed {
            None => true,
            Some((when, before)) => {
                snapshot.differs_from(before) && (last || when.elapsed() >= BLOCK_INTERVAL)
            }
        };
        if due {
            write(&(snapshot.render(elapsed) + "\n"));
            self.printed = Some((Instant::now(), snapshot.clone()));
        }
    }

    fn draw(&mut self, text: &str) {
        let up = if self.drawn > 0 {
            format!("\x1b[{}A", self.drawn)
        } else {
            String::new()
        };
        // Without wrapping, a narrow terminal cuts the lines and the count of lines stays right.
        write(&format!("{up}\r\x1b[J\x1b[?7l{text}\x1b[?7h"));
        self.drawn = text.lines().count();
    }
}

/// A closed terminal must not end the work, so failures to print are passed over.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
