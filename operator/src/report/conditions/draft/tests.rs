//! What a message says of the queues, read back.

use super::*;

/// The message about these queues, each with what is wrong with it.
fn message(queues: &[(&str, &str)]) -> String {
    let troubles: Vec<Trouble<'_>> = queues
        .iter()
        .map(|(queue, text)| (Some(*queue), NotReady::new(Reason::NotPolling, *text)))
        .collect();
    worst(Status::False, &troubles, |_| 0).unwrap().message
}

#[test]
fn a_message_names_its_queues_and_no_queue_with_a_similar_name() {
    let text = "pods are Ready, but nobody polls; check the address: it may be wrong";
    let same = |names: &'static [&str]| names.iter().map(|name| (*name, text)).collect::<Vec<_>>();
    let table = [
        (same(&["orders-eu"]), vec!["orders-eu"]),
        (same(&["orders-eu", "mails"]), vec!["orders-eu", "mails"]),
        (
            vec![("orders-eu", text), ("mails", "the pods do not start")],
            vec!["orders-eu", "mails"],
        ),
    ];
    for (queues, named) in table {
        let message = message(&queues);
        let all = [
            "orders",
            "orders-eu",
            "eu",
            "mails",
            "mail",
            "pods",
            "queue",
        ];
        let found: Vec<&str> = all
            .into_iter()
            .filter(|queue| names_queue(&message, queue))
            .collect();
        assert_eq!(found, named, "{message}");
    }
}

#[test]
fn a_message_about_many_queues_names_the_first_ones() {
    let trouble = |queue, reason, text| (Some(queue), NotReady::new(reason, text));
    let names = ["q1", "q2", "q3", "q4", "q5", "q6"];
    let same = names.map(|name| trouble(name, Reason::NotPolling, "nobody polls"));
    let others = [
        trouble("q7", Reason::Paused, "the queue is paused"),
        trouble("q7", Reason::NotPolling, "the pods do not start"),
    ];
    for other in others {
        let troubles: Vec<Trouble<'_>> = same.iter().cloned().chain([other]).collect();
        let message = worst(Status::False, &troubles, |_| 0).unwrap().message;
        let found = names.map(|name| names_queue(&message, name));
        assert_eq!(found, [true, true, true, true, true, false], "{message}");
    }
}
