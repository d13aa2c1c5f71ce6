//! The load of the soak: waves of orders whose activities last from one second to the longest asked
//! for. Pure and deterministic: the same options give the same orders.

use std::time::Duration;

use serde_json::{Value, json};

/// How many orders the waves have, in turn.
const SIZES: [usize; 3] = [8, 12, 6];
/// The shortest pause between two waves.
const SHORTEST_PAUSE: Duration = Duration::from_secs(20);
/// The longest that one mail takes: well below the 30 s that the worker allows it.
const LONGEST_MAIL_MS: u64 = 5_000;
/// A payment takes from 1 s to this many seconds, well below the 10 s that the worker waits for the
/// gateway.
const LONGEST_PAYMENT: usize = 6;

/// Orders that are placed at once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wave {
    /// When, from the beginning.
    pub(super) at: Duration,
    /// The orders, as `order-worker start --file` takes them.
    pub(super) orders: Vec<Value>,
}

/// The waves that begin within `length`, with mailings of 1 s to `longest`. The next one comes
/// while the long tasks of the last still run and its short ones have ended, so that fleets go down
/// under running activities and up again.
pub(super) fn waves(run: &str, length: Duration, longest: Duration) -> Vec<Wave> {
    let pause = (longest * 5 / 8).max(SHORTEST_PAUSE);
    let mut waves = Vec::new();
    let mut at = Duration::ZERO;
    for (number, size) in SIZES.into_iter().cycle().enumerate() {
        if at >= length && number > 0 {
            break;
        }
        let orders = (0..size)
            .map(|index| order(&format!("{run}-{number}-{index}"), index, size, longest))
            .collect();
        waves.push(Wave { at, orders });
        at += pause;
    }
    waves
}

fn order(id: &str, index: usize, size: usize, longest: Duration) -> Value {
    json!({
        "order_id": id,
        "total": 100,
        // The gateway takes this long to answer.
        "card": format!("tok_delay_{}", 1_000 * (1 + index % LONGEST_PAYMENT)),
        "recipients": recipients(mailing(index, size, longest)),
    })
}

/// How long the mailing of one order of a wave takes: each as many times as long as the one before
/// it.
fn mailing(index: usize, size: usize, longest: Duration) -> Duration {
    let last = u32::try_from(size.saturating_sub(1).max(1)).unwrap_or(u32::MAX);
    let step = f64::from(u32::try_from(index).unwrap_or(u32::MAX)) / f64::from(last);
    Duration::from_secs_f64(longest.as_secs_f64().max(1.0).powf(step))
}

/// Recipients that the sandbox's mail server takes this long for, all together.
fn recipients(mailing: Duration) -> Vec<String> {
    let all = u64::try_from(mailing.as_millis()).unwrap_or(u64::MAX);
    let count = all.div_ceil(LONGEST_MAIL_MS).max(1);
    let each = all.div_ceil(count);
    (0..count)
        .map(|number| format!("slow-{each}.{number}@shop.example"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_an_hour_has_twelve_waves_of_activities_from_one_to_120_seconds() {
        let waves = waves("r", Duration::from_mins(15), Duration::from_mins(2));
        let at: Vec<u64> = waves.iter().map(|wave| wave.at.as_secs()).collect();
        assert_eq!(
            at,
            [0, 75, 150, 225, 300, 375, 450, 525, 600, 675, 750, 825]
        );
        let orders: usize = waves.iter().map(|wave| wave.orders.len()).sum();
        assert_eq!(orders, 104);
        assert_eq!(
            waves[0].orders[0],
            json!({
                "order_id": "r-0-0", "total": 100, "card": "tok_delay_1000",
                "recipients": ["slow-1000.0@shop.example"],
            })
        );
        let last = waves[0].orders[7]["recipients"].as_array().unwrap();
        assert_eq!(last.len(), 24);
        assert_eq!(last[23], "slow-5000.23@shop.example");
    }

    #[test]
    fn the_shortest_run_has_one_wave_and_no_mail_outlasts_the_timeout_of_the_worker() {
        let waves = waves("r", Duration::ZERO, Duration::from_secs(7));
        assert_eq!(waves.len(), 1);
        for order in &waves[0].orders {
            let recipients = order["recipients"].as_array().unwrap();
            assert!((1..=2).contains(&recipients.len()), "{order}");
        }
        assert_eq!(
            recipients(Duration::from_millis(7_001)),
            ["slow-3501.0@shop.example", "slow-3501.1@shop.example"]
        );
    }
}
