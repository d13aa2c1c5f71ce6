//! Polls until the fleet is accepted, until it is at zero, or until every order has ended. Reads
//! the cluster, Temporal and the database; changes nothing.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    fleet::{self, FleetState},
    screen::Screen,
    sources::Sources,
    table::{QueueRow, Snapshot},
};
use sandbox_machine::Sandbox;

/// How often everything is read.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long the operator may take to accept a fleet.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(90);
/// How long an idle fleet may take to be at zero: its cooldown, the drain of its pods, and some.
const ZERO_TIMEOUT: Duration = Duration::from_mins(5);
/// How long no order may come to an end while some are open.
const STALL_TIMEOUT: Duration = Duration::from_mins(3);
/// How many times in a row reading may fail.
const FAILURES: u32 = 10;

/// What the waiting ended with.
pub(crate) struct WaitTimes {
    /// From the first look until every order had ended.
    pub(crate) drained_after: Duration,
    /// From the first look until every pod was gone.
    pub(crate) zero_after: Duration,
}

/// Waits until the operator has accepted the fleet, no order of an earlier run is open, and every
/// queue is at zero. After an earlier run that may take the cooldown; orders left over would take
/// stock while this run counts it.
pub(crate) fn until_accepted_and_at_zero(sandbox: &Sandbox, sources: &Sources<'_>) -> Result<()> {
    let began = Instant::now();
    loop {
        let state = fleet::read(sandbox)?;
        let open = sources.open_orders()?;
        let at_zero = state.rows.iter().all(QueueRow::is_at_zero);
        let (what, timeout) = if !state.ready {
            ("the operator did not accept the fleet", ACCEPT_TIMEOUT)
        } else if open > 0 {
            ("the orders of earlier runs did not end", ZERO_TIMEOUT)
        } else if !at_zero {
            (
                "the fleet did not go to zero replicas before the first order",
                ZERO_TIMEOUT,
            )
        } else {
            return Ok(());
        };
        if began.elapsed() > timeout {
            let what = format!(
                "{what} within {} s ({open} orders are open)",
                timeout.as_secs()
            );
            return Err(not_reached(sandbox, &what, &state));
        }
        thread::sleep(INTERVAL);
    }
}

fn not_reached(sandbox: &Sandbox, what: &str, state: &FleetState) -> Error {
    let what = format!("{what}; its conditions:\n{}", state.conditions.trim_end());
    Error::NotReached {
        what,
        state: fleet::diagnostics(sandbox),
    }
}

/// Shows the table until all `placed` orders have ended and the fleet is back at zero.
pub(crate) fn until_done(
    sandbox: &Sandbox,
    sources: &Sources<'_>,
    run: &str,
    placed: u64,
    screen: &mut Screen,
) -> Result<WaitTimes> {
    let began = Instant::now();
    let mut drained: Option<Instant> = None;
    let mut progress = (0, Instant::now());
    let mut failures = 0;
    loop {
        let (snapshot, state) = match look(sandbox, sources, run) {
            Ok(seen) => seen,
            // A place that is busy for a moment must not end the run.
            Err(error) if failures >= FAILURES => return Err(error),
            Err(_) => {
                failures += 1;
                thread::sleep(INTERVAL);
                continue;
            }
        };
        failures = 0;
        if snapshot.closed != progress.0 {
            progress = (snapshot.closed, Instant::now());
        }
        if drained.is_none() && snapshot.open == 0 && snapshot.closed >= placed {
            drained = Some(Instant::now());
        }
        let at_zero = snapshot.rows.iter().all(QueueRow::is_at_zero);
        let done = drained.filter(|_| at_zero);
        screen.show(&snapshot, began.elapsed(), done.is_some());
        if let Some(drained) = done {
            let zero_after = began.elapsed();
            return Ok(WaitTimes {
                drained_after: drained - began,
                zero_after,
            });
        }
        if let Some(what) = overdue(&snapshot, placed, drained, progress.1) {
            return Err(not_reached(sandbox, &what, &state));
        }
        thread::sleep(INTERVAL);
    }
}

/// What was not reached in time, if anything.
fn overdue(
    snapshot: &Snapshot,
    placed: u64,
    drained: Option<Instant>,
    last_end: Instant,
) -> Option<String> {
    match drained {
        None if last_end.elapsed() > STALL_TIMEOUT => Some(format!(
            "not all {placed} orders have ended: {} have ended, {} are open, and none ended in \
             the last {} s",
            snapshot.closed,
            snapshot.open,
            STALL_TIMEOUT.as_secs()
        )),
        Some(drained) if drained.elapsed() > ZERO_TIMEOUT => {
            let left: Vec<String> = snapshot
                .rows
                .iter()
                .filter(|row| !row.is_at_zero())
                .map(|row| {
                    format!(
                        "{} (backlog {}, desired {}, ready {}, draining {})",
                        row.queue, row.backlog, row.desired, row.ready, row.draining
                    )
                })
                .collect();
            Some(format!(
                "not every queue was back at zero within {} s after the last order: {}",
                ZERO_TIMEOUT.as_secs(),
                left.join(", ")
            ))
        }
        None | Some(_) => None,
    }
}

/// Everything that the table shows, read now.
fn look(sandbox: &Sandbox, sources: &Sources<'_>, run: &str) -> Result<(Snapshot, FleetState)> {
    let state = fleet::read(sandbox)?;
    let mut rows = state.rows.clone();
    for row in &mut rows {
        (row.backlog, row.oldest) = sources.backlog(&row.queue)?;
    }
    let (closed, open) = sources.closed_and_open(run)?;
    let orders = sources.live_orders(run)?;
    let snapshot = Snapshot {
        rows,
        open,
        closed,
        done: orders.done,
        declined: orders.declined,
        cancelled: orders.cancelled,
    };
    Ok((snapshot, state))
}
