//! The live table: reads at every interval, and draws after every read and every key. No read keeps
//! a key waiting.

use std::pin::Pin;

use crossterm::event::Event;
use jiff::Timestamp;
use taskqueue_api::DurationString;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::screen::Content;
use super::state::{State, Step};
use super::terminal::{self, Terminal};
use crate::clock;
use crate::color::Ink;
use crate::pace::pace;
use crate::view::table::{Sort, Style, table};
use crate::view::{Snapshot, compare};

/// What the live table shows, besides the fleets.
pub(super) struct Settings {
    /// Which fleets there are to see, such as "in namespace shop".
    pub(super) scope: String,
    /// Whether they are of several namespaces.
    pub(super) namespaces: bool,
    /// The order of the rows at first.
    pub(super) sort: Sort,
    /// The time between two reads.
    pub(super) interval: DurationString,
    /// How marks are made.
    pub(super) ink: Ink,
}

/// The last read.
struct Shown {
    snapshot: Snapshot,
    /// When it ended.
    time: Timestamp,
    /// Why it failed, if it did; the snapshot is then an earlier one.
    failed: Option<String>,
}

impl Shown {
    /// What `read` brings, or why it brings nothing. The earlier snapshot stays if it failed.
    fn take(&mut self, read: anyhow::Result<Snapshot>, now: Timestamp) {
        self.time = now;
        match read {
            Ok(mut snapshot) => {
                compare(&mut snapshot, &self.snapshot);
                self.snapshot = snapshot;
                self.failed = None;
            }
            Err(error) => self.failed = Some(format!("{error:#}")),
        }
    }

    fn content(&self, settings: &Settings, state: State) -> Content {
        let style = Style {
            namespaces: settings.namespaces,
            sort: state.sort,
            ink: settings.ink,
        };
        let mut table = table(&self.snapshot, style, self.time);
        if self.snapshot.fleets.is_empty() {
            table.head = format!("There are no fleets {}.", settings.scope);
        }
        Content {
            title: format!(
                "{}, fleets {}; every {}",
                self.time.strftime("%H:%M:%S UTC"),
                settings.scope,
                settings.interval
            ),
            failed: self.failed.clone(),
            table,
        }
    }
}

/// A read that is under way.
type Reading<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Snapshot>> + 'a>>;

/// Shows the fleets until a person or a signal ends it. `first` is what was read before.
///
/// # Errors
/// If the terminal cannot be used.
pub(super) async fn follow<'a>(
    settings: &Settings,
    first: Snapshot,
    read: impl Fn() -> Reading<'a>,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let screen = Terminal::enter()?;
    let mut events = terminal::events();
    let mut ticks = pace(settings.interval);
    let mut state = State {
        sort: settings.sort,
        ..State::default()
    };
    let mut shown = Shown {
        snapshot: first,
        time: clock::now(),
        failed: None,
    };
    let mut reading: Option<Reading<'a>> = None;
    loop {
        let content = shown.content(settings, state);
        let rows = terminal::rows();
        let page = content.page(rows);
        state = state.within(page);
        screen.draw(&content.draw(state, rows, settings.ink))?;
        tokio::select! {
            () = signals.any() => return Ok(()),
            Some(event) = events.recv() => {
                let Event::Key(key) = event else { continue };
                match state.press(key, page) {
                    Step::End => return Ok(()),
                    Step::Show(next) => {
                        // From now on nothing changes.
                        if next.paused && !state.paused {
                            reading = None;
                        }
                        state = next;
                    }
                    Step::Read(next) => {
                        state = next;
                        reading.get_or_insert_with(&read);
                    }
                }
            }
            ended = ending(&mut reading) => {
                reading = None;
                shown.take(ended, clock::now());
                ticks.reset();
            }
            _ = ticks.tick(), if reading.is_none() && !state.paused => reading = Some(read()),
        }
    }
}

/// The result of the read under way; none comes if there is none.
async fn ending(reading: &mut Option<Reading<'_>>) -> anyhow::Result<Snapshot> {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// The signals that end a command. In this terminal, Ctrl-C is a key and no signal.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for one of them.
    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
