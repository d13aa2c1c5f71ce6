//! Prints the results.

use crate::load::Round;
use crate::{Args, Contestant};

/// The median of several values, with the lowest and the highest.
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self {
            median,
            low: values[0],
            high: values[values.len() - 1],
        }
    }

    fn text(&self, digits: usize, unit: &str) -> String {
        let Self { median, low, high } = self;
        format!("{median:.digits$}{unit} ({low:.digits$} to {high:.digits$})")
    }
}

/// Reads one value of a worker for each round, or a single one.
type Values = fn(&Contestant) -> Vec<f64>;

fn rounds(rounds: &[Round], value: fn(&Round) -> f64) -> Vec<f64> {
    rounds.iter().map(value).collect()
}

/// Prints the table: one column per worker, then the ratio of the order worker's value to each
/// other worker's, computed round by round.
pub(crate) fn print(contestants: &[Contestant], args: &Args) {
    let lines: [(&str, &str, usize, Values); 10] = [
        ("processor time per activity", " ms", 2, |c| {
            rounds(&c.activities, |r| r.milliseconds)
        }),
        ("processor time per order", " ms", 2, |c| {
            rounds(&c.orders, |r| r.milliseconds)
        }),
        ("activities per second", "", 0, |c| {
            rounds(&c.activities, |r| r.per_second)
        }),
        ("orders per second", "", 0, |c| {
            rounds(&c.orders, |r| r.per_second)
        }),
        ("exec to first poll", " ms", 0, |c| c.first_polls.clone()),
        ("resident memory, idle", " MB", 1, |c| vec![c.idle.resident]),
        ("of it not the binary", " MB", 1, |c| vec![c.idle.anonymous]),
        ("resident memory, highest", " MB", 1, |c| {
            vec![c.loaded.highest]
        }),
        ("resident memory, after the load", " MB", 1, |c| {
            vec![c.loaded.resident]
        }),
        ("of it not the binary", " MB", 1, |c| {
            vec![c.loaded.anonymous]
        }),
    ];
    println!(
        "{} rounds of {} activities and {} orders for each worker in turn, after one that is not \
         counted, and {} starts{}. Median (lowest to highest):\n",
        args.rounds,
        args.activities,
        args.orders,
        args.starts,
        if args.eager {
            "; eager activities in Go"
        } else {
            ""
        }
    );
    let others = &contestants[1..];
    let mut heads: Vec<String> = contestants
        .iter()
        .map(|c| c.built.name.to_owned())
        .collect();
    heads.extend(others.iter().map(|c| format!("÷ {}", c.built.name)));
    println!("| what | {} |", heads.join(" | "));
    println!("|{}", " --- |".repeat(heads.len() + 1));
    for (what, unit, digits, values) in lines {
        let own = values(&contestants[0]);
        let mut cells: Vec<String> = contestants
            .iter()
            .map(|c| cell(values(c), digits, unit))
            .collect();
        cells.extend(
            others
                .iter()
                .map(|other| cell(ratios(&own, &values(other)), 2, "")),
        );
        println!("| {what} | {} |", cells.join(" | "));
    }
    println!("| image | {} |", images(contestants).join(" | "));
}

fn cell(values: Vec<f64>, digits: usize, unit: &str) -> String {
    match values.as_slice() {
        [] => "–".to_owned(),
        [value] => format!("{value:.digits$}{unit}"),
        _ => Spread::of(values).text(digits, unit),
    }
}

fn ratios(own: &[f64], others: &[f64]) -> Vec<f64> {
    own.iter().zip(others).map(|(a, b)| a / b).collect()
}

fn images(contestants: &[Contestant]) -> Vec<String> {
    let megabytes: Vec<Vec<f64>> = contestants
        .iter()
        .map(|c| c.built.image.into_iter().map(in_megabytes).collect())
        .collect();
    let mut cells: Vec<String> = megabytes
        .iter()
        .map(|size| cell(size.clone(), 1, " MB"))
        .collect();
    cells.extend(
        megabytes[1..]
            .iter()
            .map(|other| cell(ratios(&megabytes[0], other), 2, "")),
    );
    cells
}

fn in_megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0
}
