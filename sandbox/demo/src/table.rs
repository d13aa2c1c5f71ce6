//! The live table. Pure: it turns a snapshot into text.

use std::time::Duration;

use sandbox_machine::{
    Column::{Numbers, Words},
    table,
};

/// One task queue of the fleet at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QueueRow {
    /// Its name in the fleet.
    pub(crate) queue: String,
    /// Tasks that wait, as Temporal says.
    pub(crate) backlog: u64,
    /// How long the oldest of them has waited, as Temporal says.
    pub(crate) oldest: Duration,
    /// Replicas in the spec of the Deployment.
    pub(crate) desired: u64,
    /// Replicas that are ready.
    pub(crate) ready: u64,
    /// Pods that are terminating.
    pub(crate) draining: u64,
    /// The operator's last decision, from the fleet's status.
    pub(crate) why: String,
}

impl QueueRow {
    /// Whether nothing waits and nothing runs.
    pub(crate) fn is_at_zero(&self) -> bool {
        (self.backlog, self.desired, self.ready, self.draining) == (0, 0, 0, 0)
    }
}

/// Everything that the table shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) rows: Vec<QueueRow>,
    /// Workflows of the run, as Temporal says.
    pub(crate) open: u64,
    pub(crate) closed: u64,
    /// Orders of the run by outcome, from the database.
    pub(crate) done: u64,
    pub(crate) declined: u64,
    pub(crate) cancelled: u64,
}

impl Snapshot {
    /// Whether something changed but the waits, which change by themselves.
    pub(crate) fn differs_from(&self, before: &Self) -> bool {
        let without_waits = |snapshot: &Self| {
            let mut copy = snapshot.clone();
            for row in &mut copy.rows {
                row.oldest = Duration::ZERO;
            }
            copy
        };
        without_waits(self) != without_waits(before)
    }

    /// The table, `elapsed` after the first order was placed.
    pub(crate) fn render(&self, elapsed: Duration) -> String {
        let columns = [
            Words("QUEUE"),
            Numbers("BACKLOG"),
            Numbers("OLDEST"),
            Numbers("DESIRED"),
            Numbers("READY"),
            Numbers("DRAINING"),
            Words("LAST DECISION"),
        ];
        let rows = self.rows.iter().map(|row| {
            let oldest = if row.backlog == 0 {
                "-".to_owned()
            } else {
                format!("{:.1} s", row.oldest.as_secs_f64())
            };
            [
                row.queue.clone(),
                row.backlog.to_string(),
                oldest,
                row.desired.to_string(),
                row.ready.to_string(),
                row.draining.to_string(),
                row.why.clone(),
            ]
        });
        let seconds = elapsed.as_secs();
        format!(
            "{}{}:{:02}  orders: {} done, {} declined, {} cancelled (database); {} workflows open, \
             {} closed (Temporal)\n",
            table(columns, rows),
            seconds / 60,
            seconds % 60,
            self.done,
            self.declined,
            self.cancelled,
            self.open,
            self.closed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            rows: vec![
                QueueRow {
                    queue: "order-processing".into(),
                    backlog: 213,
                    oldest: Duration::from_millis(6140),
                    desired: 5,
                    ready: 3,
                    draining: 0,
                    why: "0 to 5: Drain".into(),
                },
                QueueRow {
                    queue: "payments".into(),
                    ..QueueRow::default()
                },
            ],
            open: 37,
            closed: 263,
            done: 240,
            declined: 15,
            cancelled: 8,
        }
    }

    #[test]
    fn the_table_has_a_line_per_queue_and_one_for_the_orders() {
        assert_eq!(
            snapshot().render(Duration::from_millis(65_900)),
            "\
QUEUE             BACKLOG  OLDEST  DESIRED  READY  DRAINING  LAST DECISION
order-processing      213   6.1 s        5      3         0  0 to 5: Drain
payments                0       -        0      0         0
1:05  orders: 240 done, 15 declined, 8 cancelled (database); 37 workflows open, 263 closed \
             (Temporal)
"
        );
    }

    #[test]
    fn only_a_growing_wait_does_not_count_as_a_change() {
        let before = snapshot();
        let mut after = snapshot();
        after.rows[0].oldest += Duration::from_secs(2);
        assert!(!after.differs_from(&before));
        after.rows[1].draining = 1;
        assert!(after.differs_from(&before));
    }

    #[test]
    fn a_queue_is_at_zero_only_when_the_last_pod_is_gone() {
        let row = QueueRow {
            queue: "payments".into(),
            why: "1 to 0: Idle".into(),
            ..QueueRow::default()
        };
        assert!(row.is_at_zero());
        assert!(
            !QueueRow {
                draining: 1,
                ..row.clone()
            }
            .is_at_zero()
        );
        assert!(!QueueRow { backlog: 1, ..row }.is_at_zero());
    }
}
