//! The terminal of the live table: enters a screen of its own, draws on it, reads keys, and
//! restores what was there, on every way out. Reads and writes the terminal; starts a thread for
//! the keys.

use std::io::{self, Stdout, Write as _};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context as _;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event};
use crossterm::style::Print;
use crossterm::terminal::{
    self, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{execute, queue};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Whether there is something to restore.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// A screen of its own, until it is dropped.
pub(super) struct Terminal {
    out: Stdout,
}

impl Terminal {
    /// Enters the screen. Also restores the terminal before a panic is reported.
    ///
    /// # Errors
    /// If keys cannot be read from the terminal, or it cannot be written to.
    pub(super) fn enter() -> anyhow::Result<Self> {
        terminal::enable_raw_mode()
            .context("cannot read keys from the terminal; --once prints without them")?;
        ENTERED.store(true, Ordering::Relaxed);
        let mut entered = Self { out: io::stdout() };
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        // Without wrapping, a narrow terminal cuts the lines.
        execute!(entered.out, EnterAlternateScreen, Hide, DisableLineWrap)
            .context("cannot write to the terminal")?;
        Ok(entered)
    }

    /// Draws these lines, and nothing below them.
    pub(super) fn draw(&self, lines: &[String]) -> anyhow::Result<()> {
        let mut out = self.out.lock();
        let mut drawn = || {
            queue!(out, BeginSynchronizedUpdate, MoveTo(0, 0))?;
            for (index, line) in lines.iter().enumerate() {
                let start = if index == 0 { "" } else { "\r\n" };
                queue!(
                    out,
                    Print(start),
                    Clear(ClearType::CurrentLine),
                    Print(line)
                )?;
            }
            // The cursor may be on the last character of a line that fills the screen's width.
            if lines.len() < rows() {
                queue!(out, Print("\r\n"), Clear(ClearType::FromCursorDown))?;
            }
            queue!(out, EndSynchronizedUpdate)?;
            out.flush()
        };
        drawn().context("cannot write to the terminal")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// The number of lines of the screen. If it is unknown, there is no limit.
pub(super) fn rows() -> usize {
    let rows = terminal::size().map_or(0, |(_, rows)| rows);
    if rows == 0 { usize::MAX } else { rows.into() }
}

/// The keys, and the changes of the screen's size. They end if the terminal is closed.
pub(super) fn events() -> UnboundedReceiver<Event> {
    let (sender, events) = unbounded_channel();
    // Waits for a key until the process ends.
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    events
}

fn restore() {
    if ENTERED.swap(false, Ordering::Relaxed) {
        // If the terminal is gone, nothing is left to restore.
        execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen).ok();
        terminal::disable_raw_mode().ok();
    }
}
