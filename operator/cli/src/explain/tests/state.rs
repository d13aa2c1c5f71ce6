//! The current state of a queue, line by line.

use super::*;
use crate::figures::TypeFigures;

/// The line of the current state of a queue with this label, if it has one.
fn line(explanation: &Explanation, label: &str) -> Option<String> {
    let text = explanation.render(now(), Ink::PLAIN);
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.strip_prefix(&format!("  {label:<14}")));
    found.map(str::to_owned)
}

#[test]
fn slots_and_times_are_told_by_task_type_and_not_for_types_without_either() {
    type Known<'a> = (&'a str, Option<f64>, Option<f64>, Option<(f64, bool)>);
    let told = |known: &[Known<'_>]| {
        let mut explanation = full("payments");
        let figures = explanation.queue.figures.as_mut().unwrap();
        let types = known.iter().map(|(kind, used, free, time)| {
            let figures = TypeFigures {
                slots_used: *used,
                slots_free: *free,
                service_time_seconds: time.map(|(seconds, _)| seconds),
                service_time_assumed: time.map(|(_, assumed)| assumed),
                ..TypeFigures::default()
            };
            ((*kind).to_owned(), figures)
        });
        figures.task_types = types.collect();
        ["slots", "a task takes"].map(|label| line(&explanation, label).unwrap())
    };
    let table: [(&[Known<'_>], [&str; 2]); 6] = [
        (
            &[
                ("activity", Some(40.0), Some(0.0), Some((2.5, false))),
                ("nexus", Some(0.0), Some(0.0), Some((5.0, true))),
                ("workflow", Some(0.0), Some(4_000.0), Some((0.5, true))),
            ],
            [
                "activity 40 of 40, workflow 0 of 4000 in use",
                "activity 2.5s, workflow 0.5s (assumed)",
            ],
        ),
        // Free slots that nobody counts.
        (
            &[("activity", Some(30.0), None, Some((5.0, true)))],
            ["activity 30 in use", "activity 5s (assumed)"],
        ),
        // At zero: only what has been learned.
        (
            &[
                ("activity", None, None, Some((1.5, false))),
                ("workflow", None, None, Some((0.5, true))),
            ],
            ["unknown", "activity 1.5s"],
        ),
        (
            &[("activity", None, None, Some((5.0, true)))],
            ["unknown", "not learned yet"],
        ),
        (
            &[("activity", Some(0.0), Some(0.0), None)],
            ["none", "unknown"],
        ),
        (&[], ["unknown", "unknown"]),
    ];
    for (known, expected) in table {
        assert_eq!(told(known), expected, "{known:?}");
    }
}

#[test]
fn in_a_dry_run_nothing_is_told_as_done() {
    let active = full("payments");
    assert_eq!(line(&active, "mode"), None);
    let mut fleet = busy();
    fleet.spec.queues[0].scaling.get_or_insert_default().mode =
        Some(taskqueue_api::scaling::Mode::DryRun);
    let queues = &mut fleet.status.as_mut().unwrap().queues;
    queues[0].last_decision = Some(
        serde_json::from_value(json!({
            "reason": "NoDemand",
            "message": "would scale 2 to 0: no task waits, none arrives and no slot is in use",
            "time": "2026-01-02T11:59:48Z", "from": 2, "to": 0,
            "inputs": {"backlog": 0, "slotsUsed": 0, "ready": 2},
        }))
        .unwrap(),
    );
    let dry = Explanation::of(&fleet, Some("payments"), &[], None, Vec::new()).unwrap();
    assert_eq!(
        line(&dry, "mode").as_deref(),
        Some("DryRun: the operator reports what it decides, and does not carry it out")
    );
    let text = dry.render(now(), Ink::PLAIN);
    assert!(
        text.contains(
            "\n  2026-01-02 11:59:48 UTC (12s ago) from 2 to 0, not carried out (mode DryRun): \
             NoDemand (there is nothing to do)\n  would scale 2 to 0: no task waits, none arrives"
        ),
        "{text}"
    );
    let annotations = [("taskqueue.dev/paused".to_owned(), "true".to_owned())];
    fleet.metadata.annotations = Some(annotations.into());
    let paused = Explanation::of(&fleet, Some("payments"), &[], None, Vec::new()).unwrap();
    assert_eq!(
        line(&paused, "mode").as_deref(),
        Some("Paused: the operator decides nothing")
    );
}

#[test]
fn a_hold_is_told_with_its_meaning() {
    let mut explanation = full("payments");
    let figures = explanation.queue.figures.as_mut().unwrap();
    figures.decisions = [("hold: WarmingUp".to_owned(), 3.0)].into();
    let text = explanation.render(now(), Ink::PLAIN);
    assert!(
        text.contains(
            "\n  decided       since the operator started: 3 x hold: WarmingUp (there is too \
             little history"
        ),
        "{text}"
    );
}

#[test]
fn the_waiting_tasks_are_counted_in_the_singular_and_the_plural() {
    for (tasks, expected) in [
        (0.0, "0 tasks wait (target 10s)"),
        (1.0, "1 task waits, the oldest for 6.1s (target 10s)"),
        (2.0, "2 tasks wait, the oldest for 6.1s (target 10s)"),
    ] {
        let mut explanation = full("payments");
        let figures = explanation.queue.figures.as_mut().unwrap();
        figures.backlog_tasks = Some(tasks);
        let text = explanation.render(now(), Ink::PLAIN);
        assert!(
            text.contains(&format!("\n  backlog       {expected}\n")),
            "{text}"
        );
    }
}

#[test]
fn the_waiting_tasks_are_told_by_priority_if_not_all_have_the_default_one() {
    let text = |by_priority: &[(&str, f64)]| {
        let mut explanation = full("payments");
        let figures = explanation.queue.figures.as_mut().unwrap();
        let by_priority = by_priority.iter().copied();
        figures.backlog_tasks_by_priority = by_priority
            .map(|(key, tasks)| (key.to_owned(), tasks))
            .collect();
        let text = explanation.render(now(), Ink::PLAIN);
        let mut lines = text.lines().map(str::trim);
        lines
            .find(|line| line.starts_with("of these"))
            .map(str::to_owned)
    };
    assert_eq!(text(&[]), None);
    assert_eq!(
        text(&[("1", 20.0), ("2", 0.0), ("5", 4_900.0)]).as_deref(),
        Some(
            "of these      20 of priority 1, 4900 of priority 5 (1 is the highest); all count alike"
        )
    );
}

#[test]
fn a_few_of_many_pods_that_hold_a_fleet_are_named() {
    let held = |pods: usize| {
        let mut explanation = full("payments");
        let figures = explanation.queue.figures.as_mut().unwrap();
        figures.held_pods = (0..pods)
            .map(|pod| (format!("p{pod:02}"), "Outlasts".to_owned()))
            .collect();
        let text = explanation.render(now(), Ink::PLAIN);
        let held = text.lines().filter_map(|line| line.strip_prefix("  held"));
        held.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let named = |pod: usize| {
        format!("pod p{pod:02} runs tasks that can take longer than the drain grace period")
    };
    assert_eq!(held(0), Vec::<String>::new());
    assert_eq!(held(2), [named(0), named(1)]);
    assert_eq!(
        (held(11).len(), held(11).last().cloned()),
        (11, Some("1 more pod must stay".to_owned()))
    );
    assert_eq!(
        held(40).last().cloned(),
        Some("30 more pods must stay".to_owned())
    );
}
