//! The bursts of one pattern by cell: which of them are believed, and their short text. Pure.

use std::time::Duration;

use crate::forecast::Pattern;
use crate::time::LocalTime;

/// A pattern with bursts in more than one of this many cells is none: the load is restless.
const RESTLESS_ONE_IN: usize = 4;
/// A burst has come once this share of what was expected has come, in percent.
const COME_PERCENT: u64 = 75;

/// The bursts of one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cells {
    pattern: Pattern,
    all: Vec<Cell>,
    present: Option<Present>,
}

/// The bursts of one cell, in thousandths of a slot; 0 = none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cell {
    /// What is expected to come again.
    believed: u64,
    /// What came the last time.
    last: u64,
}

/// The cell that time is in now, counted from the beginning of local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Present {
    number: u64,
    /// The largest burst so far.
    peak: u64,
    /// Since when it has been as large as expected.
    came: Option<LocalTime>,
}

impl Cells {
    pub(crate) fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            all: vec![Cell::default(); pattern.cells()],
            present: None,
        }
    }

    pub(crate) const fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// Whether no burst is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.iter().all(|cell| *cell == Cell::default())
    }

    /// Takes in the burst that a reading at `at` shows; 0 if it shows none. `before` is the time of
    /// the previous reading, and readings have followed each other without a gap since `covered`.
    pub(crate) fn observe(
        &mut self,
        covered: LocalTime,
        before: LocalTime,
        at: LocalTime,
        mut burst: u64,
    ) {
        let number = self.number(at);
        if let Some(present) = self.present.filter(|present| present.number < number) {
            let mut peak = present.peak;
            // A burst near the end of its cell is seen now in this cell, now in the next.
            let straddles =
                self.number(before) == present.number && present.number.saturating_add(1) == number;
            if straddles && self.knows(present.number) && !self.knows(number) {
                peak = peak.max(std::mem::take(&mut burst));
            }
            self.close(present.number, peak, covered);
            let cells = u64::try_from(self.all.len()).unwrap_or(u64::MAX);
            let first = number.saturating_sub(cells);
            for skipped in present.number.saturating_add(1).max(first)..number {
                self.close(skipped, 0, covered);
            }
        }
        let present = self.present.filter(|present| present.number == number);
        let peak = present.map_or(burst, |present| present.peak.max(burst));
        let expected = self.cell(number).believed;
        let enough = expected.saturating_mul(COME_PERCENT) / 100;
        let came = present.and_then(|present| present.came);
        self.present = Some(Present {
            number,
            peak,
            came: came.or_else(|| (peak > 0 && peak >= enough).then_some(at)),
        });
    }

    /// Ends a cell. A quiet cell counts only if readings cover all of it: unknown is not zero.
    ///
    /// The new belief is the median of the old one, the last burst and this one: a burst is
    /// believed once it has come twice in a row, and forgotten once it has failed to come twice in
    /// a row.
    fn close(&mut self, number: u64, peak: u64, covered: LocalTime) {
        if peak == 0 && covered > self.start(number) {
            return;
        }
        let index = self.index(number);
        let Some(cell) = self.all.get_mut(index) else {
            return;
        };
        let mut sizes = [cell.believed, cell.last, peak];
        sizes.sort_unstable();
        let [_, believed, _] = sizes;
        *cell = Cell {
            believed,
            last: peak,
        };
    }

    /// The largest burst that is expected in the cells from `now` to `to` and has not come yet, or
    /// less than `linger` ago.
    pub(crate) fn expected(&self, now: LocalTime, to: LocalTime, linger: Duration) -> u64 {
        if self.is_restless() {
            return 0;
        }
        let present = self.present.filter(|present| {
            let over = |came| now.since(came) >= linger;
            present.came.is_some_and(over)
        });
        let over = present.map(|present| present.number);
        let cells = (self.number(now)..=self.number(to)).take(self.all.len());
        let due = cells.filter(|number| Some(*number) != over);
        due.map(|number| self.cell(number).believed)
            .max()
            .unwrap_or(0)
    }

    /// When the first cell after that of `to` begins in which a burst is expected.
    pub(crate) fn next_after(&self, to: LocalTime) -> Option<LocalTime> {
        if self.is_restless() {
            return None;
        }
        let next = self.number(to).saturating_add(1);
        let mut cells = (next..).take(self.all.len());
        let found = cells.find(|number| self.cell(*number).believed > 0)?;
        Some(self.start(found))
    }

    /// Whether the bursts are no pattern, because too many cells have one.
    fn is_restless(&self) -> bool {
        let believed = self.all.iter().filter(|cell| cell.believed > 0).count();
        believed.saturating_mul(RESTLESS_ONE_IN) > self.all.len()
    }

    fn knows(&self, number: u64) -> bool {
        self.cell(number) != Cell::default()
    }

    fn cell(&self, number: u64) -> Cell {
        let cell = self.all.get(self.index(number));
        cell.copied().unwrap_or_default()
    }

    fn index(&self, number: u64) -> usize {
        let cells = u64::try_from(self.all.len()).unwrap_or(u64::MAX).max(1);
        usize::try_from(number.checked_rem(cells).unwrap_or(0)).unwrap_or(0)
    }

    fn number(&self, at: LocalTime) -> u64 {
        let number = at.as_millis().checked_div(self.pattern.cell_millis());
        number.unwrap_or(0)
    }

    fn start(&self, number: u64) -> LocalTime {
        LocalTime::from_millis(number.saturating_mul(self.pattern.cell_millis()))
    }

    /// The cells as text: the beliefs, a slash, and what came last. One letter is one cell; a
    /// number before a letter repeats it.
    pub(crate) fn to_text(&self) -> String {
        let of = |size: fn(&Cell) -> u64| {
            let letters: Vec<char> = self.all.iter().map(|cell| letter(size(cell))).collect();
            let runs = letters.chunk_by(|a, b| a == b).map(|run| match run {
                [one, _, _, ..] => format!("{}{one}", run.len()),
                few => few.iter().collect(),
            });
            runs.collect::<String>()
        };
        format!("{}/{}", of(|cell| cell.believed), of(|cell| cell.last))
    }

    /// Reads such a text; `None` if it is not one.
    pub(crate) fn from_text(pattern: Pattern, text: &str) -> Option<Self> {
        let (believed, last) = text.split_once('/')?;
        let believed = sizes(believed, pattern.cells())?;
        let last = sizes(last, pattern.cells())?;
        let cells = believed.into_iter().zip(last);
        let cells = cells.map(|(believed, last)| Cell { believed, last });
        Some(Self {
            all: cells.collect(),
            ..Self::new(pattern)
        })
    }
}

/// The letters of sizes: 0, then from one slot up in steps of a third of an octave, 26 % each.
const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The size of the letter with this index, in thousandths of a slot.
fn size(letter: usize) -> u64 {
    let Some(step) = letter.checked_sub(1) else {
        return 0;
    };
    let within = match step % 3 {
        0 => 1000,
        1 => 1260,
        _ => 1587,
    };
    let octave = u32::try_from(step / 3).unwrap_or(u32::MAX);
    within << octave.min(32)
}

/// The letter of a size, rounded up; the last letter for all that is larger.
fn letter(thousandths: u64) -> char {
    let index = (0..LETTERS.len()).find(|index| size(*index) >= thousandths);
    let letter = index.and_then(|index| LETTERS.get(index));
    char::from(letter.copied().unwrap_or(b'z'))
}

fn sizes(text: &str, cells: usize) -> Option<Vec<u64>> {
    let mut sizes = Vec::with_capacity(cells);
    let mut times: Option<usize> = None;
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            let digit = usize::from(byte.checked_sub(b'0')?);
            let number = times.unwrap_or(0).checked_mul(10)?.checked_add(digit)?;
            times = Some(number).filter(|number| *number <= cells);
            times?;
            continue;
        }
        let letter = LETTERS.iter().position(|letter| *letter == byte)?;
        let run = times.take().unwrap_or(1);
        if sizes.len().checked_add(run)? > cells {
            return None;
        }
        sizes.extend(std::iter::repeat_n(size(letter), run));
    }
    (times.is_none() && sizes.len() == cells).then_some(sizes)
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "the numbers of a test are small, and it may panic"
)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;

    fn observe(cells: &mut Cells, before: u64, at: u64, burst: u64) {
        let local = LocalTime::from_millis;
        cells.observe(local(0), local(before), local(at), burst);
    }

    #[test]
    fn a_burst_at_the_end_of_a_minute_stays_in_its_minute() {
        let mut cells = Cells::new(Pattern::Hourly);
        let comes_at = 15 * MINUTE - 2 * SECOND;
        // It is read one second after it has come, or five seconds, in the next minute.
        for (hour, after) in [(0, 1), (1, 5), (2, 5), (3, 1)] {
            let before = hour * HOUR + comes_at - SECOND;
            let at = hour * HOUR + comes_at + after * SECOND;
            observe(&mut cells, before - 10 * SECOND, before, 0);
            observe(&mut cells, before, at, 7_000);
            for quiet in 1..45 {
                let (before, at) = (at + (quiet - 1) * MINUTE, at + quiet * MINUTE);
                observe(&mut cells, before, at, 0);
            }
        }
        let known: Vec<u64> = (0..60).filter(|number| cells.knows(*number)).collect();
        assert_eq!(known, [14]);
        assert_eq!(cells.cell(14).believed, 7_000);
    }

    #[test]
    fn sizes_are_rounded_up_by_a_quarter_at_most_and_none_is_larger_than_the_last() {
        let read = |thousandths| {
            let text = String::from(letter(thousandths));
            sizes(&text, 1).unwrap()[0]
        };
        assert_eq!(
            [0, 1, 1000, 1001, 2000].map(read),
            [0, 1000, 1000, 1260, 2000]
        );
        for thousandths in (1000..1_000_000).step_by(37) {
            let size = read(thousandths);
            assert!(size >= thousandths && size * 100 <= thousandths * 127);
            assert_eq!(read(size), size);
        }
        assert_eq!(read(u64::MAX), 1587 << 16);
    }
}
