//! Measures what a decision costs: one pass of the pure core (record a reading, decide) over many
//! queues, in several states and sizes. Prints the time per queue and the ratio to the simplest
//! state, from rounds that go through all states in turn.
//!
//! ```sh
//! cargo bench --profile dev --workspace --bench decide
//! ```
//!
//! The development profile optimises this package as well.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: its output is the purpose"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use taskqueue_scaling::{Decision, Policy, Reading, TypeBacklog, decide};
use taskqueue_testkit::test_fleet::{TestFleet, activities, policy, waiting};

const QUEUES: u32 = 1_000;
const ROUNDS: usize = 15;

/// A state that all queues of a pass are in.
struct State {
    name: &'static str,
    replicas: u32,
    /// Slots in use in every pod.
    used: u32,
    backlog: u64,
}

const STATES: [State; 6] = [
    State {
        name: "idle at zero",
        replicas: 0,
        used: 0,
        backlog: 0,
    },
    State {
        name: "1 pod, busy and steady",
        replicas: 1,
        used: 7,
        backlog: 0,
    },
    State {
        name: "10 pods, busy and steady",
        replicas: 10,
        used: 7,
        backlog: 0,
    },
    State {
        name: "10 pods, a backlog: grows",
        replicas: 10,
        used: 10,
        backlog: 1_000,
    },
    State {
        name: "10 pods, little to do: shrinks",
        replicas: 10,
        used: 1,
        backlog: 0,
    },
    State {
        name: "100 pods, busy and steady",
        replicas: 100,
        used: 7,
        backlog: 0,
    },
];

fn main() {
    let mut fleets: Vec<(TestFleet, TypeBacklog)> = STATES.iter().map(fleet).collect();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); STATES.len()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        for (index, (fleet, backlog)) in fleets.iter_mut().enumerate() {
            let took = pass(fleet, backlog, u64::try_from(round).unwrap());
            if round > 0 {
                times[index].push(took.as_secs_f64() * 1e6 / f64::from(QUEUES));
            }
        }
    }
    println!(
        "{QUEUES} queues, {ROUNDS} rounds through all states; microseconds per queue, median \
         (lowest to highest)\n"
    );
    println!("| state of the queue | µs per queue | ÷ the first |\n| --- | --- | --- |");
    for (state, of_state) in STATES.iter().zip(&times) {
        let ratios = of_state
            .iter()
            .zip(&times[0])
            .map(|(own, first)| own / first);
        println!(
            "| {} | {} | {} |",
            state.name,
            spread(of_state.clone(), 2),
            spread(ratios.collect(), 1)
        );
    }
}

/// A queue whose history has reached its maximum length.
fn fleet(state: &State) -> (TestFleet, TypeBacklog) {
    let policy = Policy {
        max: 1_000,
        ..policy()
    };
    let mut fleet = TestFleet::settled(policy, state.replicas, Duration::from_secs(1));
    fleet.used = vec![state.used; usize::try_from(state.replicas).unwrap()];
    (fleet, waiting(state.backlog))
}

/// Gives every queue a new reading and decides on it. Everything that the queues share is built
/// before the clock starts.
fn pass(fleet: &mut TestFleet, backlog: &TypeBacklog, round: u64) -> Duration {
    fleet.wait(5);
    let reading = Reading::Known {
        value: activities(1_000 + round, *backlog),
        taken_at: fleet.now,
    };
    let observation = fleet.observation(reading);
    let mut histories = vec![fleet.history.clone(); usize::try_from(QUEUES).unwrap()];
    let started = Instant::now();
    for history in &mut histories {
        history.observe(&fleet.policy, &observation, fleet.now);
        let decision: Decision = decide(&fleet.policy, &observation, history, fleet.now);
        black_box(&decision);
    }
    let took = started.elapsed();
    fleet.history = histories.pop().unwrap();
    took
}

fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[0], values[values.len() - 1]);
    let median = values[values.len() / 2];
    format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
}
