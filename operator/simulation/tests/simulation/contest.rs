//! A short form of the contest: every load of the reported half, one seed. The whole contest is
//! `cargo run --release -p taskqueue-simulation --example contest`.

use taskqueue_simulation::contest::{Conditions, Contest, Entry, Half, Shares, Targets};

#[test]
fn ours_meets_as_many_targets_as_any_rival_and_costs_less_than_any_that_comes_close() {
    let conditions = Conditions {
        seeds: vec![1],
        ..Conditions::default()
    };
    let contest = Contest::run(Half::Reported, &conditions);
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
    }
}

#[test]
fn longer_targets_cost_less_on_loads_of_ten_busy_slots() {
    for half in [Half::Chosen, Half::Reported] {
        let targets = Targets::run(half, &[1, 2]);
        insta::assert_snapshot!(format!("targets_{half:?}").to_lowercase(), targets.table());
        for (target, entry) in &targets.entries[1..] {
            assert_eq!(entry.met(), entry.cells.len(), "{}", targets.table());
            assert!(targets.ratio(*target) <= 0.85, "{}", targets.table());
        }
    }
}

#[test]
fn the_rule_for_the_size_beats_every_share_of_the_slots() {
    for half in [Half::Chosen, Half::Reported] {
        let conditions = Conditions {
            seeds: vec![1],
            ..Conditions::default()
        };
        let shares = Shares::run(half, &conditions);
        insta::assert_snapshot!(format!("shares_{half:?}").to_lowercase(), shares.table());
        for entry in &shares.shares {
            assert!(entry.met() < shares.rule.met(), "{}", shares.table());
            assert!(shares.penalised_ratio(entry) > 1.0, "{}", shares.table());
        }
        assert!(shares.best.met() < shares.rule.met(), "{}", shares.table());
    }
}
