//! What a forecast asks for. Plain data.

/// The replicas that a queue should have soon, because bursts came at this time before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// The replicas that the burst needs, at least 1. `Policy::max` bounds them.
    pub replicas: u32,
    /// The pattern that lets expect the burst.
    pub pattern: Pattern,
}

/// A pattern in time. Each divides its period into cells, so fine that a forecast that waits for
/// its burst to the end of a cell costs little of the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// At the same minute of every hour.
    Hourly,
    /// In the same ten minutes of every day.
    Daily,
    /// In the same hour of every week.
    Weekly,
}

impl Pattern {
    /// Every pattern.
    pub const ALL: [Self; 3] = [Self::Hourly, Self::Daily, Self::Weekly];

    /// The length of a cell in milliseconds.
    pub(crate) const fn cell_millis(self) -> u64 {
        const MINUTE: u64 = 60_000;
        match self {
            Self::Hourly => MINUTE,
            Self::Daily => 10 * MINUTE,
            Self::Weekly => 60 * MINUTE,
        }
    }

    /// The number of cells.
    pub(crate) const fn cells(self) -> usize {
        match self {
            Self::Hourly => 60,
            Self::Daily => 24 * 6,
            Self::Weekly => 7 * 24,
        }
    }

    /// When bursts came, as a clause.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Hourly => "bursts came at this minute of earlier hours",
            Self::Daily => "bursts came at this time of earlier days",
            Self::Weekly => "bursts came in this hour of earlier weeks",
        }
    }
}
