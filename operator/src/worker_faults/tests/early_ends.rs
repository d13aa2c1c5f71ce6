//! Workers that end before their tasks.

use super::*;

/// Ends of pods that are all alike.
#[derive(Clone, Copy)]
struct Ends {
    /// The number of the first pod.
    first: u64,
    pods: u64,
    /// Seconds between two ends.
    apart: u64,
    task_time: Option<u64>,
    /// Slots in use in the last heartbeat.
    used: u32,
    /// Seconds from the last heartbeat to the end.
    took: u64,
    /// Seconds of the grace period, of 60, that were left at the end.
    left: u64,
    killed: Option<Killed>,
    workers: usize,
}

/// Workers that drop their tasks, which take a minute.
const DROPPING: Ends = Ends {
    first: 1,
    pods: 3,
    apart: 70,
    task_time: Some(60),
    used: 2,
    took: 1,
    left: 58,
    killed: None,
    workers: 1,
};

fn ended(queue: &mut Queue, ends: &Ends) -> Vec<&'static str> {
    queue.task_time = ends.task_time.map(Duration::from_secs);
    let mut found = Vec::new();
    for number in ends.first..ends.first + ends.pods {
        let name = format!("p{number}");
        let sent = 1000 + number * ends.apart;
        let last = WorkerReport {
            host_name: name.clone(),
            ..report(sent, 5, activity(ends.used, 10, 0))
        };
        queue.workers = vec![last; ends.workers];
        let at = sent + ends.took;
        queue.pods.gone = vec![Draining {
            pod: name,
            grace: Duration::from_mins(1),
            ends: wall(at + ends.left),
            shortened_to: None,
            hooked: false,
            end: Some(WorkerEnd {
                at: Some(wall(at)),
                killed: ends.killed,
                succeeded: ends.killed.is_none(),
            }),
        }];
        queue.pass(at);
        queue.pods.gone.clear();
        // The next list has the same last heartbeat.
        found = queue.pass(at + 1);
    }
    found
}

#[test]
fn workers_that_end_before_their_tasks_are_reported_when_luck_is_unlikely() {
    let guilty = vec!["EndsBeforeItsTasks"];
    let table = [
        ("drop tasks", DROPPING, guilty),
        (
            "once",
            Ends {
                pods: 1,
                ..DROPPING
            },
            vec![],
        ),
        (
            "twice",
            Ends {
                pods: 2,
                ..DROPPING
            },
            vec![],
        ),
        (
            "all at once, as tasks of one batch may end",
            Ends {
                pods: 30,
                apart: 1,
                ..DROPPING
            },
            vec![],
        ),
        (
            "short tasks",
            Ends {
                pods: 30,
                task_time: Some(1),
                ..DROPPING
            },
            vec![],
        ),
        (
            "tasks of unknown length",
            Ends {
                pods: 30,
                task_time: None,
                ..DROPPING
            },
            vec![],
        ),
        (
            "idle",
            Ends {
                pods: 30,
                used: 0,
                ..DROPPING
            },
            vec![],
        ),
        (
            "a heartbeat that is a third of a task old",
            Ends {
                pods: 30,
                took: 20,
                ..DROPPING
            },
            vec![],
        ),
        (
            "used most of their grace period",
            Ends {
                pods: 30,
                left: 29,
                ..DROPPING
            },
            vec![],
        ),
        (
            "killed",
            Ends {
                pods: 30,
                killed: Some(Killed::Other),
                ..DROPPING
            },
            vec![],
        ),
        (
            "several workers in a pod",
            Ends {
                pods: 30,
                workers: 2,
                ..DROPPING
            },
            vec![],
        ),
    ];
    for (what, ends, expected) in table {
        let mut queue = Queue::new(&[]);
        assert_eq!(ended(&mut queue, &ends), expected, "{what}");
    }
}

#[test]
fn the_evidence_of_early_ends_says_how_sure_it_is_and_a_pod_that_waits_ends_the_row() {
    let mut queue = Queue::new(&[]);
    ended(&mut queue, &DROPPING);
    assert_eq!(
        queue.evidence(),
        [
            "3 pods in a row, p3 the last, exited by themselves right after a heartbeat with \
             running tasks, with more than half of their drain grace period left, although a task \
             takes about 1m: fewer than 1 in 10000 workers that wait for their tasks would end \
             like that"
        ]
    );
    let mut queue = Queue::new(&[]);
    let two = Ends {
        pods: 2,
        ..DROPPING
    };
    let waits = Ends {
        pods: 1,
        took: 62,
        ..DROPPING
    };
    for (first, ends) in [(10, two), (20, waits), (30, two)] {
        assert_eq!(
            ended(&mut queue, &Ends { first, ..ends }),
            Vec::<&str>::new()
        );
    }
}
