//! Measures.

use taskqueue_simulation::scaler::TaskQueue;
use taskqueue_simulation::{Scenario, Setup, Summary, mixed, run, standard};

fn ours(scenario: &Scenario, grace: u64, careful: bool) -> Summary {
    let setup = Setup {
        grace,
        ..scenario.setup.clone()
    };
    let mut ours = TaskQueue::new("ours", &setup, TaskQueue::policy(&setup));
    if careful {
        ours = ours.careful();
    }
    run(&scenario.trace, &setup, &mut ours).summary
}

#[test]
fn measure() {
    let seeds: u64 = std::env::var("SEEDS").map_or(1, |s| s.parse().unwrap());
    let only = std::env::var("ONLY").unwrap_or_default();
    for (kind, all) in [("mixed", mixed()), ("standard", standard())] {
        for mut scenario in all {
            if !scenario.trace.name.contains(&only) {
                continue;
            }
            for grace in [30_000, 120_000, 600_000] {
                for seed in 1..=seeds {
                    scenario.setup.seed = seed;
                    for careful in [false, true] {
                        let s = ours(&scenario, grace, careful);
                        println!(
                            "{kind};{};{};{};{};{};{};{};{:.2};{};{};{};{}",
                            scenario.trace.name,
                            grace / 1000,
                            seed,
                            careful as u8,
                            s.cut.known,
                            s.cut.first,
                            s.cut.raced,
                            s.cost,
                            s.busy_removed,
                            s.p99,
                            s.peak,
                            s.unfinished
                        );
                    }
                }
            }
        }
    }
}
