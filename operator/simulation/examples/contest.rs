//! The contest of all policies: searches the rivals' settings on one half of the loads, and prints
//! the results on the other half.
//!
//! ```sh
//! cargo run --release -p taskqueue-simulation --example contest
//! ```
//!
//! It takes a few minutes.

#![allow(clippy::print_stdout, reason = "its output is the purpose")]

use taskqueue_simulation::contest::{
    Conditions, Contest, Entry, Half, Shares, Targets, bounds, search,
};

fn main() {
    let conditions = Conditions::default();
    // The search and the bounds run many settings: one seed each.
    let one = Conditions {
        seeds: vec![1],
        ..conditions.clone()
    };
    println!("## Results\n");
    println!("{}", Contest::run(Half::Reported, &conditions).table());
    println!("## Longer targets, pods that start within 3 s\n");
    for half in [Half::Reported, Half::Chosen] {
        println!("{}", Targets::run(half, &conditions.seeds).table());
    }
    println!("## A share of the slots instead of the rule\n");
    for half in [Half::Chosen, Half::Reported] {
        println!("{}", Shares::run(half, &conditions).table());
    }
    println!("## Search\n");
    println!("{}", search(Half::Chosen, &one).0);
    println!("## Bounds, seed 1\n");
    let (_, found) = search(Half::Reported, &one);
    let entries: Vec<Entry> = found.into_iter().flat_map(|(_, entries)| entries).collect();
    let ours = Contest::run(Half::Reported, &one).ours;
    for ours in &ours {
        println!("{}", bounds(ours, &entries, Half::Reported, &one));
    }
}
