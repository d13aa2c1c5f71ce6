//! Activity slots that no pod ever uses.

use super::*;

/// What 20 heartbeats of a worker say about its slots, if each has these slots, and `processed`
/// more tasks have ended since the one before.
fn slots_of(slots: TypeSlots, processed: u64, waiting: TypeBacklog) -> Vec<String> {
    let mut queue = Queue::new(&["p"]);
    queue.waiting = waiting;
    for number in 1..=20 {
        let slots = TypeSlots {
            processed_total: slots.processed_total.map(|_| number * processed),
            ..slots
        };
        queue.workers = vec![report(number * 5, 5, slots)];
        queue.pass(number * 5);
    }
    queue.evidence().into_iter().map(str::to_owned).collect()
}

#[test]
fn slots_are_never_used_only_after_there_was_reason_to_use_them() {
    let nothing = TypeBacklog::default();
    let waiting = |count| TypeBacklog {
        count,
        ..TypeBacklog::default()
    };
    let never = |peak: u32, why: &str| {
        vec![format!(
            "no pod has been seen with more than {peak} of its 1000 activity slots in use, {why}"
        )]
    };
    let waited = never(3, "although tasks waited");
    let processed = never(7, "although the pods have processed more tasks than that");
    let unlimited = TypeSlots {
        available: None,
        ..activity(3, 1000, 0)
    };
    let uncounted = TypeSlots {
        processed_total: None,
        ..activity(3, 1000, 0)
    };
    let limited = TypeBacklog {
        rate_limited: true,
        ..waiting(500)
    };
    let table = [
        ("idle", activity(0, 1000, 0), 0, nothing, vec![]),
        ("little to do", activity(1, 1000, 0), 3, nothing, vec![]),
        ("much done", activity(7, 1000, 0), 100, nothing, processed),
        ("tasks wait", activity(3, 1000, 0), 1, waiting(101), waited),
        ("few wait", activity(3, 1000, 0), 1, waiting(100), vec![]),
        (
            "nobody may take them",
            activity(0, 1000, 0),
            0,
            waiting(500),
            vec![],
        ),
        (
            "Temporal limits them",
            activity(3, 1000, 0),
            1,
            limited,
            vec![],
        ),
        ("used", activity(101, 1000, 0), 100, waiting(500), vec![]),
        ("not many", activity(3, 249, 0), 100, waiting(500), vec![]),
        ("no fixed number", unlimited, 100, waiting(500), vec![]),
        ("without counts", uncounted, 100, waiting(500), vec![]),
    ];
    for (what, slots, processed, waiting, expected) in table {
        assert_eq!(slots_of(slots, processed, waiting), expected, "{what}");
    }
}

#[test]
fn a_burst_of_short_tasks_between_few_heartbeats_is_no_proof() {
    let mut queue = Queue::new(&["p"]);
    for (second, processed) in [(60, 0), (120, 40_000), (180, 90_000)] {
        queue.workers = vec![report(second, 5, activity(0, 1000, processed))];
        assert_eq!(queue.pass(second), Vec::<&str>::new(), "{second}");
    }
}

#[test]
fn slots_that_are_used_after_all_are_no_fault_any_more() {
    let mut queue = Queue::new(&["p"]);
    for number in 1..=20 {
        let slots = activity(7, 1000, number * 100);
        queue.workers = vec![report(number * 5, 5, slots)];
        queue.pass(number * 5);
    }
    assert_eq!(queue.evidence().len(), 1);
    queue.workers = vec![report(105, 5, activity(300, 1000, 2100))];
    assert_eq!(queue.pass(105), Vec::<&str>::new());
}

#[test]
fn scraped_slots_are_judged_while_tasks_wait_only_if_the_tasks_are_counted() {
    let mut queue = Queue::new(&["p"]);
    queue.waiting.count = 500;
    let workers = Reading::Known {
        value: Vec::new(),
        taken_at: NOW,
    };
    for number in 1..=30 {
        let now = moment(number * 5);
        let pod = PodSlots {
            pod: "p".to_owned(),
            phase: PodPhase::Ready,
            listed: true,
            fresh: true,
            reported_at: Some(now.monotonic),
            reported_after: Some(now.monotonic),
            types: PerType {
                activity: Some(TypeSlots {
                    processed_total: None,
                    ..activity(3, 1000, 0)
                }),
                ..PerType::default()
            },
            elsewhere: None,
        };
        let slots = Reading::Known {
            value: Slots {
                pods: vec![pod],
                source: SlotSource::Scraped,
            },
            taken_at: now.monotonic,
        };
        assert_eq!(queue.observe(&workers, &slots, now), Vec::<&str>::new());
    }
}
