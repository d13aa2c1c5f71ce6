//! Drains told once, when their grace period is over.

use jiff::SignedDuration;
use taskqueue_scaling::{PerType, PodPhase, Reading, Slots, TypeSlots};

use super::*;
use crate::memory::{FleetMemory, QueueKey};
use crate::report::passed::Passed;
use crate::testing::{NOW, simple, unseen};

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

/// A queue in which the pod drains until second 100, with so many slots in use.
fn draining(used: Option<u32>) -> ObservedQueue {
    let mut queue = unseen();
    queue.pods.draining = vec![("slow".to_owned(), at(100))];
    let activity = used.map(|used| TypeSlots {
        used,
        available: Some(1),
        processed_total: Some(0),
    });
    let pod = PodSlots {
        pod: "slow".to_owned(),
        phase: PodPhase::Terminating,
        listed: true,
        fresh: used.is_some(),
        reported_at: Some(NOW),
        reported_after: Some(NOW),
        types: PerType {
            activity,
            ..PerType::default()
        },
        elsewhere: None,
    };
    queue.slots = Reading::Known {
        value: Slots {
            pods: vec![pod],
            ..Slots::default()
        },
        taken_at: NOW,
    };
    queue
}

/// The notes of one pass at a second, which is remembered.
fn pass(memory: &mut FleetMemory, queue: ObservedQueue, second: i64) -> Vec<String> {
    let mut passed = Passed::after(std::mem::take(memory), simple(), queue);
    let told = exceeded(&passed.facts()[0], at(second));
    remember(
        passed.memory.queue(QueueKey::unversioned("a")),
        &passed.observed.queues["a"],
        at(second),
    );
    *memory = passed.memory;
    told.into_iter().map(|happening| happening.note).collect()
}

fn note(had: &str) -> String {
    format!(
        "queue a: pod slow used up its drain grace period: {had} cancelled and attempted again; raise drain.gracePeriod if tasks take that long"
    )
}

#[test]
fn a_pod_that_stays_past_its_grace_period_is_told_once() {
    let mut memory = FleetMemory::default();
    assert_eq!(
        pass(&mut memory, draining(Some(3)), 99),
        Vec::<String>::new()
    );
    assert_eq!(
        pass(&mut memory, draining(None), 101),
        [note("3 tasks that were still running are")],
        "with what was known last"
    );
    assert_eq!(
        pass(&mut memory, draining(Some(3)), 105),
        Vec::<String>::new()
    );
    assert_eq!(pass(&mut memory, unseen(), 110), Vec::<String>::new());
}

#[test]
fn a_pod_that_ended_with_its_grace_period_is_told_when_it_is_gone() {
    let mut memory = FleetMemory::default();
    pass(&mut memory, draining(Some(1)), 99);
    assert_eq!(
        pass(&mut memory, unseen(), 101),
        [note("1 task that was still running is")]
    );
}

#[test]
fn a_pod_that_drained_in_time_is_not_told() {
    let mut memory = FleetMemory::default();
    pass(&mut memory, draining(Some(2)), 50);
    assert_eq!(pass(&mut memory, unseen(), 60), Vec::<String>::new());
    assert_eq!(pass(&mut memory, unseen(), 120), Vec::<String>::new());
}
