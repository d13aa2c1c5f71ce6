//! The fleets as a table for people. Pure; the time is passed in.

use clap::ValueEnum;
use comfy_table::{Attribute, CellAlignment, Color};
use jiff::Timestamp;

use super::held::facts;
use super::{FleetView, QueueView, Snapshot, age, holds_back, only_reported, seconds};
use crate::color::{Ink, Tone};
use crate::figures::Figures;

/// The order of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// By namespace and name of the fleet; its queues as in its spec.
    #[default]
    Name,
    /// The largest backlog first.
    Backlog,
    /// The longest wait first, relative to the queue's target.
    Wait,
}

impl Sort {
    /// The next order, and after the last the first.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Name => Self::Backlog,
            Self::Backlog => Self::Wait,
            Self::Wait => Self::Name,
        }
    }

    /// What it sorts by, in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Backlog => "backlog",
            Self::Wait => "wait",
        }
    }
}

/// How fleets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether the fleets are of several namespaces, which are then named.
    pub namespaces: bool,
    /// The order of the rows.
    pub sort: Sort,
    /// How marks are made.
    pub ink: Ink,
}

/// Fleets, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The titles of the columns.
    pub head: String,
    /// The rows, what holds the fleets back, and the notes.
    pub lines: Vec<String>,
}

impl Table {
    /// The whole table as text.
    pub fn text(&self) -> String {
        let lines = std::iter::once(&self.head).chain(&self.lines);
        lines.flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

/// The table, what holds the fleets back, and the notes.
pub fn table(snapshot: &Snapshot, style: Style, now: Timestamp) -> Table {
    let Style {
        namespaces,
        sort,
        ink,
    } = style;
    let mut rows: Vec<(&FleetView, &QueueView)> = snapshot
        .fleets
        .iter()
        .flat_map(|fleet| fleet.queues.iter().map(move |queue| (fleet, queue)))
        .collect();
    if sort != Sort::Name {
        rows.sort_by(|(_, a), (_, b)| urgency(b, sort).total_cmp(&urgency(a, sort)));
    }
    let mut cells = vec![HEAD.map(|title| Cell::marked(Tone::Head, title)).to_vec()];
    cells.extend(
        rows.into_iter()
            .map(|(fleet, queue)| row(fleet, queue, now)),
    );
    if !namespaces {
        for row in &mut cells {
            row.remove(0);
        }
    }
    let mut lines = aligned(&cells, ink);
    let titles = lines.remove(0);
    let held = snapshot.fleets.iter().flat_map(|fleet| {
        let held = fleet.conditions.iter().filter(|held| holds_back(held));
        facts(held).into_iter().map(move |held| (fleet, held))
    });
    for (index, (fleet, held)) in held.enumerate() {
        if index == 0 {
            lines.push(String::new());
        }
        let place = if namespaces {
            format!("{}/{}", fleet.namespace, fleet.name)
        } else {
            fleet.name.clone()
        };
        let what = format!("{place}: {}", held.reason);
        lines.push(format!(
            "{} ({}): {}",
            ink.mark(Tone::Held, &what),
            held.standing(now),
            held.message
        ));
    }
    for (index, note) in snapshot.notes.iter().enumerate() {
        if index == 0 {
            lines.push(String::new());
        }
        lines.push(format!("{} {note}", ink.mark(Tone::Held, "Note:")));
    }
    Table {
        head: titles,
        lines,
    }
}

/// The text of a cell, and what it means beyond that.
#[derive(Debug, Clone)]
struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: None,
        }
    }

    fn marked(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Some(tone),
        }
    }
}

const HEAD: [&str; 12] = [
    "NAMESPACE",
    "FLEET",
    "QUEUE",
    "BACKLOG",
    "WAIT",
    "TARGET",
    "SLOTS",
    "READY",
    "DRAIN",
    "MIN",
    "MAX",
    "LAST CHANGE",
];
/// The columns that hold numbers, by name.
const NUMBERS: [&str; 8] = [
    "BACKLOG", "WAIT", "TARGET", "SLOTS", "READY", "DRAIN", "MIN", "MAX",
];

fn row(fleet: &FleetView, queue: &QueueView, now: Timestamp) -> Vec<Cell> {
    let unknown = || "-".to_owned();
    let figures = queue.figures.as_ref();
    let number = |of: fn(&Figures) -> Option<f64>| {
        let value = figures.and_then(of);
        value.map_or_else(unknown, |value| format!("{value}"))
    };
    let wait = figures.and_then(|figures| {
        // If no task waits, there is no wait to show.
        figures
            .oldest_wait_seconds
            .filter(|_| figures.backlog_tasks != Some(0.0))
    });
    // Each task type has slots of its own, so a sum could hide that those of one are full.
    let slots = figures.and_then(|figures| {
        let (used, all) = figures.fullest()?.slots()?;
        Some(all.map_or_else(|| format!("{used}"), |all| format!("{used}/{all}")))
    });
    let replicas = queue.ready.zip(queue.desired);
    let replicas = replicas.map(|(ready, desired)| format!("{ready}/{desired}"));
    let over = wait
        .zip(queue.wait_target_seconds)
        .is_some_and(|(wait, target)| wait > target);
    let wait = wait.map_or_else(unknown, seconds);
    let wait = if over {
        Cell::marked(Tone::Over, wait)
    } else {
        Cell::plain(wait)
    };
    vec![
        Cell::plain(&fleet.namespace),
        Cell::plain(&fleet.name),
        Cell::plain(&queue.name),
        Cell::plain(number(|figures| figures.backlog_tasks)),
        wait,
        Cell::plain(queue.wait_target_seconds.map_or_else(unknown, seconds)),
        Cell::plain(slots.unwrap_or_else(unknown)),
        Cell::plain(replicas.unwrap_or_else(unknown)),
        Cell::plain(number(|figures| figures.draining_replicas)),
        Cell::plain(queue.min.to_string()),
        Cell::plain(queue.max.to_string()),
        Cell::plain(last(queue, now)),
    ]
}

/// The last change with its reason, and the current decision if it is known.
fn last(queue: &QueueView, now: Timestamp) -> String {
    let change = queue.last_decision.as_ref().map_or_else(
        || "none".to_owned(),
        |last| {
            let when = age(last.time.0, now);
            let (from, to, reason) = (last.from, last.to, &last.reason);
            let dry = if only_reported(last) {
                " (dry run)"
            } else {
                ""
            };
            format!("{when} ago {from} to {to}{dry}: {reason}")
        },
    );
    match &queue.deciding {
        Some(deciding) => format!("{change}; now {deciding}"),
        None => change,
    }
}

/// The sort key: the higher, the more urgent. Unknown values come last.
fn urgency(queue: &QueueView, sort: Sort) -> f64 {
    let figures = queue.figures.as_ref();
    let value = match sort {
        Sort::Name => None,
        Sort::Backlog => figures.and_then(|figures| figures.backlog_tasks),
        Sort::Wait => figures
            .and_then(|figures| figures.oldest_wait_seconds)
            .zip(queue.wait_target_seconds)
            .map(|(wait, target)| wait / target),
    };
    value.unwrap_or(-1.0)
}

/// Aligns the cells as kubectl does: two blanks between the columns, and numbers to the right.
fn aligned(rows: &[Vec<Cell>], ink: Ink) -> Vec<String> {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.force_no_tty();
    if ink.is_colored() {
        table.enforce_styling();
    }
    for row in rows {
        table.add_row(row.iter().map(styled));
    }
    let titles = rows.first().into_iter().flatten();
    for (column, title) in table.column_iter_mut().zip(titles) {
        column.set_padding((0, 2));
        if NUMBERS.contains(&title.text.as_str()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.trim_fmt();
    text.lines().map(str::to_owned).collect()
}

fn styled(cell: &Cell) -> comfy_table::Cell {
    let styled = comfy_table::Cell::new(&cell.text);
    match cell.tone {
        None => styled,
        Some(Tone::Head) => styled.add_attribute(Attribute::Bold),
        Some(Tone::Quiet) => styled.add_attribute(Attribute::Dim),
        Some(Tone::Over) => styled.fg(Color::Red),
        Some(Tone::Held) => styled.fg(Color::Yellow),
    }
}
