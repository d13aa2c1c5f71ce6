//! Thousandths, the unit of the demand's arithmetic, so that limits can tell 7.02 replicas from 8.

use std::ops::{Add, Div, Mul};
use std::time::Duration;

use crate::time::millis;

/// A quantity in thousandths of its unit: replicas, slots, tasks, or tasks per second.
///
/// Saturates instead of overflowing. Rounds products and quotients up. A divisor of zero counts as
/// the smallest positive one, and a duration as at least a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Milli(u128);

impl Milli {
    pub(crate) const ZERO: Self = Self(0);
    pub(crate) const ONE: Self = Self(1000);

    pub(crate) fn from_thousandths(thousandths: u64) -> Self {
        Self(u128::from(thousandths))
    }

    pub(crate) fn whole(number: impl Into<u128>) -> Self {
        Self(number.into().saturating_mul(1000))
    }

    pub(crate) fn thousandths(self) -> u64 {
        u64::try_from(self.0).unwrap_or(u64::MAX)
    }

    /// This percentage of the quantity, rounded up.
    pub(crate) fn percent(self, percent: u32) -> Self {
        Self(self.0.saturating_mul(u128::from(percent)).div_ceil(100))
    }

    /// The quantity less another; zero if that is larger.
    pub(crate) const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The square root of the number, rounded up.
    pub(crate) const fn root(self) -> Self {
        let square = self.0.saturating_mul(1000);
        let root = square.isqrt();
        Self(if root.saturating_mul(root) < square {
            root.saturating_add(1)
        } else {
            root
        })
    }

    /// The amount divided by a duration, as a rate per second rounded down.
    pub(crate) fn rate_rounded_down(self, over: Duration) -> Self {
        let rate = self.0.saturating_mul(1000);
        Self(rate.checked_div(at_least_one(over)).unwrap_or_default())
    }
}

impl Add for Milli {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// A rate per second times a duration is an amount.
impl Mul<Duration> for Milli {
    type Output = Self;

    fn mul(self, time: Duration) -> Self {
        Self(self.0.saturating_mul(at_least_one(time)).div_ceil(1000))
    }
}

/// That many times the amount.
impl Mul for Milli {
    type Output = Self;

    fn mul(self, times: Self) -> Self {
        Self(self.0.saturating_mul(times.0).div_ceil(1000))
    }
}

/// An amount divided by a duration is a rate per second.
impl Div<Duration> for Milli {
    type Output = Self;

    fn div(self, time: Duration) -> Self {
        Self(self.0.saturating_mul(1000).div_ceil(at_least_one(time)))
    }
}

/// The ratio of two amounts.
impl Div for Milli {
    type Output = Self;

    fn div(self, unit: Self) -> Self {
        Self(self.0.saturating_mul(1000).div_ceil(unit.0.max(1)))
    }
}

fn at_least_one(time: Duration) -> u128 {
    u128::from(millis(time).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_and_products_are_rounded_up() {
        let seven = Milli::whole(7_u32);
        assert_eq!(seven / Milli::whole(3_u32), Milli(2334));
        assert_eq!(seven / Duration::from_secs(3), Milli(2334));
        assert_eq!(Milli(1) * Duration::from_millis(1), Milli(1));
        assert_eq!(seven * Duration::from_millis(1500), Milli(10_500));
        assert_eq!(seven.percent(75), Milli(5250));
        assert_eq!(seven.root(), Milli(2646));
        assert_eq!(Milli::whole(9_u32).root(), Milli(3000));
        assert_eq!(seven.rate_rounded_down(Duration::from_secs(3)), Milli(2333));
    }

    #[test]
    fn nothing_overflows_and_nothing_divides_by_zero() {
        let most = Milli(u128::MAX);
        assert_eq!(most + Milli::ONE, most);
        assert_eq!(most.thousandths(), u64::MAX);
        assert_eq!(Milli(3) / Milli::ZERO, Milli(3000));
        assert_eq!(Milli(3) / Duration::ZERO, Milli(3000));
        assert_eq!(most.percent(100), Milli(u128::MAX.div_ceil(100)));
        assert_eq!(most.root(), Milli(1 << 64));
    }
}
