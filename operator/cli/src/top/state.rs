//! What a person has chosen on the live table, and what a key changes. Pure.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::view::table::Sort;

/// The keys, for people.
pub(super) const KEYS: &str = "\
q, Esc, Ctrl-C           end
Down, Up, j, k           scroll by a line
PgDn, PgUp, Home, End    scroll by a screen, or to an end; g and G as well
n, b, w                  sort by name, backlog or wait; s takes the next of these
Space                    pause, and go on
r                        read now
h, ?                     show the keys";

/// What a person has chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The order of the rows.
    pub(super) sort: Sort,
    /// How many lines are above the screen.
    pub(super) above: usize,
    /// Whether the table stays as it is.
    pub(super) paused: bool,
    /// Whether the keys are shown instead of the table.
    pub(super) help: bool,
}

/// How much of the table the screen shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    /// The lines of the table, without its head.
    pub(super) lines: usize,
    /// Those that fit on the screen; 1 or more.
    pub(super) shown: usize,
}

/// What follows from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Show this.
    Show(State),
    /// Show this, and read at once.
    Read(State),
    /// The command ends.
    End,
}

impl State {
    /// What follows from a key. A key that means nothing changes nothing.
    pub(super) fn press(self, key: KeyEvent, page: Page) -> Step {
        if key.kind == KeyEventKind::Release {
            return Step::Show(self);
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Step::End,
                _ => Step::Show(self),
            };
        }
        if self.help {
            return Step::Show(Self {
                help: false,
                ..self
            });
        }
        // A screen keeps one line of the one before.
        let screen = page.shown.saturating_sub(1).max(1);
        let next = match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Step::End,
            KeyCode::Char('r') => return Step::Read(self),
            KeyCode::Char(' ') if self.paused => {
                return Step::Read(Self {
                    paused: false,
                    ..self
                });
            }
            KeyCode::Char(' ') => Self {
                paused: true,
                ..self
            },
            KeyCode::Char('h' | '?') => Self { help: true, ..self },
            KeyCode::Char('s') => self.sorted(self.sort.next()),
            KeyCode::Char('n') => self.sorted(Sort::Name),
            KeyCode::Char('b') => self.sorted(Sort::Backlog),
            KeyCode::Char('w') => self.sorted(Sort::Wait),
            KeyCode::Char('j') | KeyCode::Down => self.at(self.above.saturating_add(1)),
            KeyCode::Char('k') | KeyCode::Up => self.at(self.above.saturating_sub(1)),
            KeyCode::PageDown => self.at(self.above.saturating_add(screen)),
            KeyCode::PageUp => self.at(self.above.saturating_sub(screen)),
            KeyCode::Char('g') | KeyCode::Home => self.at(0),
            KeyCode::Char('G') | KeyCode::End => self.at(usize::MAX),
            _ => self,
        };
        Step::Show(next.within(page))
    }

    /// The same, without more lines above the screen than there are to scroll: the table may have
    /// become shorter, or the screen larger.
    pub(super) fn within(self, page: Page) -> Self {
        let most = page.lines.saturating_sub(page.shown);
        self.at(self.above.min(most))
    }

    fn at(self, above: usize) -> Self {
        Self { above, ..self }
    }

    /// Another order begins with the first line.
    fn sorted(self, sort: Sort) -> Self {
        Self {
            sort,
            above: 0,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Page = Page {
        lines: 30,
        shown: 10,
    };

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    /// The state after these keys; none of them may end the command or read.
    fn after(keys: &[KeyCode]) -> State {
        keys.iter().fold(State::default(), |state, code| {
            match state.press(key(*code), PAGE) {
                Step::Show(next) => next,
                other => panic!("{code:?}: {other:?}"),
            }
        })
    }

    #[test]
    fn the_table_scrolls_by_lines_and_screens_and_no_further_than_its_ends() {
        use KeyCode::{Char, Down, End, Home, PageDown, PageUp, Up};
        let table: [(&[KeyCode], usize); 12] = [
            (&[Down], 1),
            (&[Char('j'), Char('j')], 2),
            (&[Down, Down, Up], 1),
            (&[Down, Char('k'), Char('k')], 0),
            (&[PageDown], 9),
            (&[PageDown, PageDown, PageUp], 9),
            (&[PageDown, PageDown, PageDown, PageDown], 20),
            (&[End], 20),
            (&[Char('G'), Down], 20),
            (&[End, Home], 0),
            (&[End, Char('g')], 0),
            (&[End, PageUp], 11),
        ];
        for (keys, above) in table {
            assert_eq!(after(keys).above, above, "{keys:?}");
        }
    }

    #[test]
    fn a_table_that_fits_does_not_scroll_and_a_shorter_one_comes_back() {
        let fits = Page {
            lines: 10,
            shown: 10,
        };
        let step = State::default().press(key(KeyCode::Down), fits);
        assert_eq!(step, Step::Show(State::default()));
        let scrolled = after(&[KeyCode::End]);
        let shorter = Page { lines: 12, ..PAGE };
        assert_eq!(scrolled.within(shorter).above, 2);
        let tiny = Page {
            lines: 12,
            shown: 1,
        };
        let step = scrolled.within(tiny).press(key(KeyCode::PageUp), tiny);
        assert_eq!(step, Step::Show(after(&[]).at(10)));
    }

    #[test]
    fn another_order_begins_at_the_top() {
        let sorts = ["s", "ss", "sss", "b", "w", "wn"].map(|keys| {
            let keys: Vec<KeyCode> = std::iter::once(KeyCode::End)
                .chain(keys.chars().map(KeyCode::Char))
                .collect();
            let state = after(&keys);
            (state.sort, state.above)
        });
        assert_eq!(
            sorts,
            [
                (Sort::Backlog, 0),
                (Sort::Wait, 0),
                (Sort::Name, 0),
                (Sort::Backlog, 0),
                (Sort::Wait, 0),
                (Sort::Name, 0)
            ]
        );
    }

    #[test]
    fn a_pause_ends_with_a_read_and_r_reads_at_once() {
        let paused = after(&[KeyCode::Char(' ')]);
        assert!(paused.paused);
        let step = paused.press(key(KeyCode::Char(' ')), PAGE);
        assert_eq!(step, Step::Read(State::default()));
        let step = paused.press(key(KeyCode::Char('r')), PAGE);
        assert_eq!(step, Step::Read(paused));
    }

    #[test]
    fn any_key_leaves_the_keys_and_only_ctrl_c_ends_from_there() {
        let help = after(&[KeyCode::Char('?')]);
        assert_eq!(help, after(&[KeyCode::Char('h')]));
        assert!(help.help);
        for code in [KeyCode::Esc, KeyCode::Char('q'), KeyCode::Down] {
            assert_eq!(help.press(key(code), PAGE), Step::Show(State::default()));
        }
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(help.press(interrupt, PAGE), Step::End);
    }

    #[test]
    fn the_usual_keys_end_it_and_others_change_nothing() {
        let state = State::default();
        for code in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(state.press(key(code), PAGE), Step::End);
        }
        let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
        assert_eq!(state.press(control('c'), PAGE), Step::End);
        let mut released = key(KeyCode::Char('q'));
        released.kind = KeyEventKind::Release;
        for other in [
            control('q'),
            released,
            key(KeyCode::F(1)),
            key(KeyCode::Char('x')),
        ] {
            assert_eq!(state.press(other, PAGE), Step::Show(state), "{other:?}");
        }
    }
}
