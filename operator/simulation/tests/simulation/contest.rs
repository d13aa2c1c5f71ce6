//! A short form of the contest: every load of the reported part, one seed. The whole contest is
//! `cargo run --release -p taskqueue-simulation --example contest`.

use taskqueue_simulation::contest::{Conditions, Contest, Entry, Part, Shares, Targets};

/// The result of the whole contest.
const CONTEST: &str = include_str!("../../examples/contest.txt");

#[test]
fn ours_meets_as_many_targets_as_any_rival_and_costs_less_than_any_that_comes_close() {
    let conditions = Conditions {
        seeds: vec![1],
        ..Conditions::default()
    };
    let contest = Contest::run(Part::Reported, &conditions);
    insta::assert_snapshot!("contest", contest.table());
    let ours = &contest.ours[0];
    for rival in &contest.rivals {
        let comes_close = rival.met() * 10 >= ours.met() * 8;
        assert!(
            !comes_close || ours.cost_ratio(rival) < 0.9,
            "{}",
            contest.table()
        );
    }
    // With either interval between heartbeats.
    for ours in &contest.ours {
        let most = contest.rivals.iter().map(Entry::met).max();
        assert!(Some(ours.met()) >= most, "{}", contest.table());
        assert!(ours.cells.iter().all(|cell| cell.known == 0));
        // Dearer than the rivals that meet the most targets in a fifth of the scenarios at most.
        for best in contest
            .rivals
            .iter()
            .filter(|rival| Some(rival.met()) == most)
        {
            let (dearer, both) = ours.dearer(best);
            assert!(dearer * 5 <= both, "{}", contest.table());
            let as_good = best.met() == ours.met();
            assert!(!as_good || ours.reversals() <= best.reversals());
        }
    }
}

#[test]
fn longer_targets_cost_less_on_loads_of_ten_busy_slots() {
    for part in [Part::Chosen, Part::Reported] {
        let targets = Targets::run(part, &[1, 2]);
        insta::assert_snapshot!(format!("targets_{part:?}").to_lowercase(), targets.table());
        // The whole contest was run with this policy.
        for row in targets
            .table()
            .lines()
            .filter(|row| !row.starts_with("geometric"))
        {
            assert!(
                CONTEST.contains(row),
                "examples/contest.txt is older: {row}"
            );
        }
        for (target, entry) in &targets.entries[1..] {
            assert_eq!(entry.met(), entry.cells.len(), "{}", targets.table());
            assert!(targets.ratio(*target) <= 0.85, "{}", targets.table());
        }
    }
}

#[test]
fn no_share_of_the_slots_meets_as_many_targets_as_the_rule_at_its_cost() {
    for part in [Part::Chosen, Part::Reported] {
        let conditions = Conditions {
            seeds: vec![1],
            ..Conditions::default()
        };
        let shares = Shares::run(part, &conditions);
        insta::assert_snapshot!(format!("shares_{part:?}").to_lowercase(), shares.table());
        for entry in &shares.shares {
            assert!(entry.met() < shares.rule.met(), "{}", shares.table());
            let comes_close = entry.met() * 10 >= shares.rule.met() * 9;
            let dearer = shares.rule.cost_ratio(entry) < 0.95;
            assert!(!comes_close || dearer, "{}", shares.table());
        }
        assert!(shares.best.met() < shares.rule.met(), "{}", shares.table());
    }
}
