//! Charts the metrics that Prometheus scraped during the run, and checks that they show the
//! scaling. Pure.
//!
//! Why not a crate: textplots 0.8 draws lines on a canvas of Braille dots, on which zero looks like
//! a small value and nothing marks a missing sample.

use std::{collections::BTreeMap, time::Duration};

use sandbox_machine::clients::prometheus;

/// Columns of a chart.
const WIDTH: u64 = 60;
/// The scrape interval in milliseconds; a narrower column would often hold no sample.
const STEP: u64 = 2000;
/// From little to the most.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Samples in order of time: milliseconds since 1970, value.
pub(crate) type Series = Vec<(u64, u64)>;
/// Samples by the label `queue`.
pub(crate) type ByQueue = BTreeMap<String, Series>;

/// The three things that the run has to show, each by queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scraped {
    pub(crate) backlog: ByQueue,
    pub(crate) desired: ByQueue,
    pub(crate) ready: ByQueue,
}

/// The series of a range query that is grouped by `queue`.
pub(crate) fn by_queue(all: Vec<prometheus::Series>) -> Result<ByQueue, String> {
    let mut queues = ByQueue::new();
    for series in all {
        let queue = series
            .labels
            .get("queue")
            .ok_or("a series has no label queue")?;
        let samples = series.samples.iter().map(|(time, value)| {
            whole(time * 1000.0)
                .zip(
                    Some(*value)
                        .filter(|value| value.fract() == 0.0)
                        .and_then(whole),
                )
                .ok_or_else(|| format!("[{time},{value}] is not a sample with a whole number"))
        });
        queues.insert(queue.clone(), samples.collect::<Result<Series, String>>()?);
    }
    Ok(queues)
}

fn whole(value: f64) -> Option<u64> {
    let duration = Duration::try_from_secs_f64(value.round()).ok()?;
    Some(duration.as_secs())
}

impl Scraped {
    /// What the samples do not show. Required for each queue: the backlog and then the replicas
    /// rise from zero, and all return to zero.
    pub(crate) fn missing(&self, queues: &[String]) -> Vec<String> {
        queues
            .iter()
            .flat_map(|queue| self.missing_of(queue))
            .collect()
    }

    fn missing_of(&self, queue: &str) -> Vec<String> {
        let mut missing = Vec::new();
        for (what, series) in self.named() {
            let Some(series) = series.get(queue).filter(|series| !series.is_empty()) else {
                missing.push(format!("{queue}: there is no sample of {what}"));
                continue;
            };
            if rise(series).is_none() {
                missing.push(format!("{queue}: {what} never rose from zero"));
            }
            if let Some((_, last)) = series.last().filter(|(_, value)| *value > 0) {
                missing.push(format!(
                    "{queue}: {what} did not return to zero, it is {last}"
                ));
            }
        }
        let first = |by_queue: &ByQueue| by_queue.get(queue).and_then(rise);
        if let (Some(backlog), Some(ready)) = (first(&self.backlog), first(&self.ready))
            && ready < backlog
        {
            missing.push(format!(
                "{queue}: replicas were ready before there was a backlog"
            ));
        }
        missing
    }

    fn named(&self) -> [(&'static str, &ByQueue); 3] {
        [
            ("backlog", &self.backlog),
            ("desired", &self.desired),
            ("ready", &self.ready),
        ]
    }

    /// The charts, all over the same time: from the first sample to the last.
    pub(crate) fn render(&self, queues: &[String]) -> String {
        let times = || {
            self.named()
                .into_iter()
                .flat_map(|(_, by_queue)| by_queue.values().flatten())
                .map(|(time, _)| *time)
        };
        let (Some(start), Some(end)) = (times().min(), times().max()) else {
            return "There are no samples.\n".into();
        };
        let column = ((end - start) / WIDTH + 1).max(STEP);
        let mut lines = vec![format!(
            "One column is {}.{} s; '.' means zero, a blank means no sample.\n",
            column / 1000,
            column % 1000 / 100
        )];
        for queue in queues {
            lines.push(format!("{queue}\n"));
            for (what, by_queue) in self.named() {
                let empty = Series::new();
                let series = by_queue.get(queue).unwrap_or(&empty);
                let line = bars(series, start, column);
                let words = in_words(series, start);
                lines.push(format!("  {what:<8}|{line}| {words}\n"));
            }
        }
        lines.concat()
    }
}

/// When a series first rose above zero after being at zero. Values left by an earlier run at the
/// beginning are no rise.
fn rise(series: &Series) -> Option<u64> {
    let from_zero = series.iter().skip_while(|(_, value)| *value > 0);
    from_zero
        .skip_while(|(_, value)| *value == 0)
        .map(|(time, _)| *time)
        .next()
}

/// One character per column: the largest value in it against the largest of all.
fn bars(series: &Series, start: u64, column: u64) -> String {
    let most = series.iter().map(|(_, value)| *value).max().unwrap_or(0);
    (0..WIDTH)
        .map(|index| {
            let from = start + index * column;
            let within = |time: u64| time >= from && time < from + column;
            let value = series
                .iter()
                .filter(|(time, _)| within(*time))
                .map(|(_, value)| *value)
                .max();
            match value {
                None => ' ',
                Some(0) => '.',
                Some(value) => {
                    // From 1 to most becomes from 0 to 7.
                    let level = (value * 8).div_ceil(most).saturating_sub(1);
                    usize::try_from(level)
                        .ok()
                        .and_then(|level| LEVELS.get(level))
                        .copied()
                        .unwrap_or('█')
                }
            }
        })
        .collect()
}

fn in_words(series: &Series, start: u64) -> String {
    let (Some((_, first)), Some((_, last))) = (series.first(), series.last()) else {
        return "no sample".into();
    };
    let most = series.iter().map(|(_, value)| *value).max().unwrap_or(0);
    let after = series
        .iter()
        .find(|(_, value)| *value == most)
        .map_or(0, |(time, _)| (time - start) / 1000);
    format!("first {first}, most {most} after {after} s, last {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_queue(values: &[u64]) -> ByQueue {
        let series = values
            .iter()
            .zip(0..)
            .map(|(value, index)| (1_000_000 + index * 2000, *value));
        ByQueue::from([("payments".to_owned(), series.collect())])
    }

    fn example() -> Scraped {
        Scraped {
            backlog: by_queue(&[0, 40, 20, 5, 0, 0, 0]),
            desired: by_queue(&[0, 0, 4, 4, 4, 1, 0]),
            ready: by_queue(&[0, 0, 0, 2, 4, 4, 0]),
        }
    }

    fn missing(scraped: &Scraped) -> Vec<String> {
        scraped.missing(&["payments".to_owned()])
    }

    #[test]
    fn nothing_is_missing_in_a_complete_run() {
        assert_eq!(missing(&example()), [""; 0]);
    }

    #[test]
    fn values_left_by_an_earlier_run_do_not_count_as_a_rise() {
        let left = Scraped {
            ready: by_queue(&[1, 0, 0, 2, 4, 4, 0]),
            ..example()
        };
        assert_eq!(missing(&left), [""; 0]);
        let only_left = Scraped {
            ready: by_queue(&[1, 1, 0]),
            ..example()
        };
        assert_eq!(
            missing(&only_left),
            ["payments: ready never rose from zero"]
        );
    }

    #[test]
    fn everything_that_is_missing_is_named() {
        assert_eq!(
            missing(&Scraped {
                backlog: by_queue(&[0, 0]),
                ..example()
            }),
            ["payments: backlog never rose from zero"]
        );
        assert_eq!(
            missing(&Scraped {
                ready: by_queue(&[0, 0, 1]),
                ..example()
            }),
            ["payments: ready did not return to zero, it is 1"]
        );
        assert_eq!(
            missing(&Scraped {
                ready: by_queue(&[0, 1, 0]),
                backlog: by_queue(&[0, 0, 9, 0]),
                ..example()
            }),
            ["payments: replicas were ready before there was a backlog"]
        );
        assert_eq!(
            missing(&Scraped::default()),
            [
                "payments: there is no sample of backlog",
                "payments: there is no sample of desired",
                "payments: there is no sample of ready",
            ]
        );
    }

    #[test]
    fn only_whole_numbers_of_a_queue_are_accepted() {
        let series = |label: &str, samples: &[(f64, f64)]| prometheus::Series {
            labels: BTreeMap::from([(label.to_owned(), "payments".to_owned())]),
            samples: samples.to_vec(),
        };
        assert_eq!(
            super::by_queue(vec![series("queue", &[(1000.0, 0.0), (1002.5, 40.0)])]),
            Ok(ByQueue::from([(
                "payments".to_owned(),
                vec![(1_000_000, 0), (1_002_500, 40)]
            )]))
        );
        assert!(super::by_queue(vec![series("fleet", &[])]).is_err());
        assert_eq!(
            super::by_queue(vec![series("queue", &[(1.0, 0.5)])]),
            Err("[1,0.5] is not a sample with a whole number".to_owned())
        );
        assert!(super::by_queue(vec![series("queue", &[(1.0, -1.0)])]).is_err());
    }

    #[test]
    fn a_chart_has_one_line_per_series_and_describes_it_in_words() {
        let scraped = example();
        let text = scraped.render(&["payments".to_owned()]);
        let words: Vec<&str> = text
            .lines()
            .map(|line| line.rsplit('|').next().unwrap().trim())
            .collect();
        assert_eq!(
            words,
            [
                "One column is 2.0 s; '.' means zero, a blank means no sample.",
                "payments",
                "first 0, most 40 after 2 s, last 0",
                "first 0, most 4 after 4 s, last 0",
                "first 0, most 4 after 8 s, last 0",
            ]
        );
        assert_eq!(
            bars(&scraped.backlog["payments"], 1_000_000, 2000).trim_end(),
            ".█▄▁..."
        );
        assert_eq!(Scraped::default().render(&[]), "There are no samples.\n");
    }
}
