//! A short form of the contest: every load of the reported half, one seed. The whole contest is
//! `cargo run --release -p taskqueue-simulation --example contest`.

use taskqueue_simulation::contest::{Conditions, Contest, Entrant, Half, enter, scenarios};

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
        assert!(ours.met() >= rival.met(), "{}", contest.table());
        let comes_close = rival.met() * 10 >= ours.met() * 8;
        assert!(
            !comes_close || ours.cost_ratio(rival) < 0.9,
            "{}",
            contest.table()
        );
    }
    for ours in &contest.ours {
        assert!(ours.cells.iter().all(|cell| cell.known == 0));
    }
}

#[test]
fn longer_targets_cost_less_on_loads_of_ten_busy_slots() {
    let conditions = Conditions {
        start_ups: vec![3_000],
        targets: vec![5_000, 30_000, 600_000],
        seeds: vec![1, 2],
    };
    let ours = enter(
        &Entrant::Ours { heartbeat: 5_000 },
        Half::Reported,
        &conditions,
    );
    let scenarios = scenarios(Half::Reported, &conditions);
    let large = ["even", "even, long", "day", "chat", "walk"];
    let at = |target| {
        ours.only(&scenarios, |scenario| {
            scenario.target == target && large.contains(&scenario.load)
        })
    };
    let short = at(5_000);
    for target in [30_000, 600_000] {
        let long = at(target);
        assert_eq!(long.met(), long.cells.len());
        let ratio = long.cost_ratio(&short);
        assert!(
            ratio <= 0.85,
            "a target of {target} ms costs {ratio} of 5 s"
        );
    }
}
