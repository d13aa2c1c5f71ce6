//! Loads that recur over days and weeks, with and without `scaling.forecast`.
//!
//! ```sh
//! cargo run -p taskqueue-simulation --example forecast
//! ```
#![allow(clippy::print_stdout, reason = "its output is the purpose")]

use taskqueue_simulation::{heading, recurring};

fn main() {
    let loads = recurring();
    for load in &loads {
        println!("{:<14}{}", load.trace.name, load.trace.about);
    }
    println!();
    println!("{}", heading());
    for load in &loads {
        for start_up in [3_000, 30_000] {
            for target in [5_000, 30_000] {
                println!("{}", load.line(start_up, target));
            }
        }
    }
}
