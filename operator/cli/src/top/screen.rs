//! The live table as the lines of a screen. Pure.

use super::state::{KEYS, Page, State};
use crate::color::{Ink, Tone};
use crate::view::table::Table;

/// What there is to show.
#[derive(Debug)]
pub(super) struct Content {
    /// The time, the fleets that are shown, and how often they are read.
    pub(super) title: String,
    /// Why the last read failed.
    pub(super) failed: Option<String>,
    /// The fleets.
    pub(super) table: Table,
}

impl Content {
    /// How much of the table a screen of `rows` lines shows.
    pub(super) fn page(&self, rows: usize) -> Page {
        let lines = self.table.lines.len();
        let room = rows.saturating_sub(self.above().len() + 1);
        // What is left out needs a line that says so.
        let shown = if lines > room {
            room.saturating_sub(1)
        } else {
            room
        };
        Page {
            lines,
            shown: shown.max(1),
        }
    }

    /// What is above the table.
    fn above(&self) -> Vec<String> {
        let mut above = vec![self.title.clone(), String::new()];
        if let Some(why) = &self.failed {
            above.push(format!(
                "This is an earlier state, because the last read failed: {why}"
            ));
            above.push(String::new());
        }
        above
    }

    /// The lines of a screen, at most `rows`.
    pub(super) fn draw(&self, state: State, rows: usize, ink: Ink) -> Vec<String> {
        let mut lines = self.above();
        let modes = [
            format!("sorted by {}", state.sort.as_str()),
            if state.paused {
                "paused, Space goes on".to_owned()
            } else {
                "h shows the keys, q ends".to_owned()
            },
        ];
        lines[0] = ink.mark(Tone::Quiet, &format!("{}; {}", lines[0], modes.join("; ")));
        if self.failed.is_some() {
            lines[2] = ink.mark(Tone::Held, &lines[2]);
        }
        if state.help {
            lines.extend(KEYS.lines().map(str::to_owned));
            lines.push(String::new());
            lines.push("Any key goes back.".to_owned());
            lines.truncate(rows);
            return lines;
        }
        let page = self.page(rows);
        let above = state.within(page).above;
        lines.push(self.table.head.clone());
        let shown = self.table.lines.iter().skip(above).take(page.shown);
        lines.extend(shown.cloned());
        if page.lines > page.shown {
            let last = (above + page.shown).min(page.lines);
            let range = format!(
                "--- lines {} to {last} of {}: arrows and PgDn scroll ---",
                above + 1,
                page.lines
            );
            lines.push(ink.mark(Tone::Quiet, &range));
        }
        lines.truncate(rows);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(lines: usize) -> Content {
        Content {
            title: "12:00:00 UTC, fleets in namespace shop; every 2s".to_owned(),
            failed: None,
            table: Table {
                head: "FLEET".to_owned(),
                lines: (1..=lines).map(|line| format!("line {line}")).collect(),
            },
        }
    }

    #[test]
    fn a_table_that_fits_is_shown_whole() {
        let drawn = content(2).draw(State::default(), 5, Ink::PLAIN);
        assert_eq!(
            drawn,
            [
                "12:00:00 UTC, fleets in namespace shop; every 2s; sorted by name; h shows the \
                 keys, q ends",
                "",
                "FLEET",
                "line 1",
                "line 2"
            ]
        );
        assert_eq!(
            content(100)
                .draw(State::default(), usize::MAX, Ink::PLAIN)
                .len(),
            103
        );
    }

    #[test]
    fn a_longer_table_scrolls_below_its_head() {
        let content = content(10);
        assert_eq!(
            content.page(7),
            Page {
                lines: 10,
                shown: 3
            }
        );
        let state = State {
            above: 4,
            ..State::default()
        };
        let drawn = content.draw(state, 7, Ink::PLAIN);
        let end = "--- lines 5 to 7 of 10: arrows and PgDn scroll ---";
        assert_eq!(drawn[2..], ["FLEET", "line 5", "line 6", "line 7", end]);
        let too_far = State {
            above: 100,
            ..State::default()
        };
        let drawn = content.draw(too_far, 7, Ink::PLAIN);
        assert_eq!(drawn[3..6], ["line 8", "line 9", "line 10"]);
    }

    #[test]
    fn a_screen_is_never_longer_than_the_terminal() {
        for rows in 0..20 {
            for help in [false, true] {
                let state = State {
                    help,
                    ..State::default()
                };
                let drawn = content(12).draw(state, rows, Ink::PLAIN);
                assert!(drawn.len() <= rows, "{rows}: {drawn:?}");
            }
        }
    }

    #[test]
    fn a_failed_read_a_pause_and_the_keys_are_shown() {
        let failed = Content {
            failed: Some("no route".to_owned()),
            ..content(1)
        };
        let paused = State {
            paused: true,
            ..State::default()
        };
        let drawn = failed.draw(paused, 10, Ink::PLAIN);
        assert!(drawn[0].ends_with("; sorted by name; paused, Space goes on"));
        assert_eq!(
            drawn[1..],
            [
                "",
                "This is an earlier state, because the last read failed: no route",
                "",
                "FLEET",
                "line 1"
            ]
        );
        let help = State {
            help: true,
            ..State::default()
        };
        let drawn = content(1).draw(help, 24, Ink::PLAIN).join("\n");
        assert!(drawn.contains(KEYS) && !drawn.contains("FLEET"), "{drawn}");
    }
}
