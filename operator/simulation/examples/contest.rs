//! The contest of all policies: searches the rivals' settings on one part of the loads, and prints
//! the results on the other part.
//!
//! ```sh
//! cargo run --release -p taskqueue-simulation --example contest
//! ```
//!
//! It takes a few minutes.

#![allow(clippy::print_stdout, reason = "its output is the purpose")]

use taskqueue_simulation::contest::{
    Conditions, Contest, Entry, Part, Shares, Targets, bounds, search,
};

fn main() {
    let conditions = Conditions::default();
    // The search and the bounds run many settings: one seed each.
    let one = Conditions {
        seeds: vec![1],
        ..conditions.clone()
    };
    println!("## Results\n");
    println!("{}", Contest::run(Part::Reported, &conditions).table());
    println!("## Further loads\n");
    println!("{}", Contest::run(Part::Further, &conditions).table());
    println!("## Other seeds: the three parts\n");
    let other = Conditions {
        seeds: vec![7, 8, 9],
        ..conditions.clone()
    };
    for part in [Part::Chosen, Part::Reported, Part::Further] {
        println!("{}", Contest::run(part, &other).table());
    }
    println!("## Longer targets, pods that start within 3 s\n");
    for part in [Part::Reported, Part::Chosen] {
        println!("{}", Targets::run(part, &conditions.seeds).table());
    }
    println!("## A share of the slots instead of the rule\n");
    for part in [Part::Chosen, Part::Reported] {
        println!("{}", Shares::run(part, &conditions).table());
    }
    println!("## Search\n");
    println!("{}", search(Part::Chosen, &one).0);
    println!("## Bounds, seed 1\n");
    let (_, found) = search(Part::Reported, &one);
    let entries: Vec<Entry> = found.into_iter().flat_map(|(_, entries)| entries).collect();
    let ours = Contest::run(Part::Reported, &one).ours;
    for ours in &ours {
        println!("{}", bounds(ours, &entries, Part::Reported, &one));
    }
}
