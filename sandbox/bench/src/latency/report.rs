//! Computes the times of a trial from histories and replica changes, and prints the table. Pure.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Duration,
};

use jiff::Timestamp;
use sandbox_machine::{
    Column::{Numbers, Words},
    table,
};

use crate::{
    history::Workflow,
    latency::setting::{ORDERS, RIGHT, Setting},
    percentiles::{between, figure, seconds},
};

/// One trial. Every time counts from the moment at which Temporal took the first order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trial {
    /// Until the last order was taken.
    pub(super) placed: Duration,
    /// Until the Deployment asked for any replica, as seen by a watch on the API server.
    pub(super) first: Duration,
    /// Until it asked for the right number.
    pub(super) right: Duration,
    /// Until a pod took the first task: tasks wait, so that is its first poll.
    pub(super) taken: Duration,
    /// Until the first activity was completed.
    pub(super) completed: Duration,
    /// The most replicas that were asked for until every order had ended.
    pub(super) most: u32,
}

/// What was measured under one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    pub(super) setting: Setting,
    pub(super) trials: Vec<Trial>,
}

/// The figures of a trial, from the histories of its orders and what its fleet asked for.
pub(super) fn figures(workflows: &[Workflow], steps: &[(Timestamp, u32)]) -> Result<Trial, String> {
    let placed = workflows.iter().map(|one| one.placed);
    let began = placed.clone().min().ok_or("no order was placed")?;
    let since = |moment: Timestamp| between(began, moment);
    let reached = |least: u32| steps.iter().find(|(_, asked)| *asked >= least);
    let (first, _) = reached(1).ok_or("the operator requested no replica")?;
    let (right, _) =
        reached(RIGHT).ok_or("the operator did not request the right number of replicas")?;
    let taken = workflows.iter().filter_map(|one| one.first_taken).min();
    let completed = workflows
        .iter()
        .flat_map(|one| &one.activities)
        .filter(|one| one.completed)
        .map(|one| one.ended)
        .min();
    Ok(Trial {
        placed: since(placed.max().unwrap_or(began)),
        first: since(*first),
        right: since(*right),
        taken: since(taken.ok_or("no task was taken")?),
        completed: since(completed.ok_or("no activity was completed")?),
        most: steps.iter().map(|(_, asked)| *asked).max().unwrap_or(0),
    })
}

impl Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |pick: fn(&Trial) -> Duration| -> Vec<Duration> {
            self.trials.iter().map(pick).collect()
        };
        let rows = [
            ("the last order placed", of(|one| one.placed)),
            ("the first replica requested", of(|one| one.first)),
            ("the right replicas requested", of(|one| one.right)),
            ("the first poll of a pod", of(|one| one.taken)),
            ("the first activity completed", of(|one| one.completed)),
        ];
        let columns = [
            Words("SECONDS FROM THE FIRST ORDER TO"),
            Numbers("P50"),
            Numbers("P99"),
            Numbers("MAX"),
        ];
        let rows = rows.map(|(what, values)| {
            let [median, high, most] = [50, 99, 100].map(|percent| figure(&values, percent));
            [what.to_owned(), median, high, most]
        });
        write!(
            f,
            "{}: {} trials of {ORDERS} orders\n{}",
            self.setting.title(),
            self.trials.len(),
            table(columns, rows)
        )?;
        let mut most = BTreeMap::<u32, usize>::new();
        for trial in &self.trials {
            *most.entry(trial.most).or_default() += 1;
        }
        let most: Vec<String> = most
            .into_iter()
            .map(|(replicas, trials)| format!("{replicas} in {trials}"))
            .collect();
        writeln!(
            f,
            "most replicas requested ({RIGHT} is right): {} trials; goal: {} s to the right \
             replicas at p99",
            most.join(", "),
            seconds(self.setting.aim())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Activity;

    fn millis(at: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + at).unwrap()
    }

    fn order(placed: i64, taken: i64, completed: i64) -> Workflow {
        Workflow {
            id: "order-1".into(),
            placed: millis(placed),
            first_taken: Some(millis(taken)),
            end: "WORKFLOW_EXECUTION_COMPLETED".into(),
            activities: vec![Activity {
                kind: "create_order".into(),
                started: millis(taken),
                ended: millis(completed),
                attempt: 1,
                worker: "1@pod".into(),
                completed: true,
                trouble: None,
                heartbeat_missed: false,
                cut_off: None,
            }],
        }
    }

    #[test]
    fn a_trial_counts_from_the_first_order_to_the_first_of_each() {
        let workflows = [order(20, 3_100, 3_300), order(0, 3_000, 3_400)];
        let steps = [(millis(1_000), 1), (millis(1_500), 2), (millis(1_600), 2)];
        assert_eq!(
            figures(&workflows, &steps),
            Ok(Trial {
                placed: Duration::from_millis(20),
                first: Duration::from_secs(1),
                right: Duration::from_millis(1_500),
                taken: Duration::from_secs(3),
                completed: Duration::from_millis(3_300),
                most: 2,
            })
        );
        assert_eq!(
            figures(&workflows, &steps[..1]),
            Err("the operator did not request the right number of replicas".to_owned())
        );
    }
}
