//! How a message names the queues.

use super::*;

/// The message about these queues, each with what is wrong with it.
fn message(queues: &[(&str, Reason, &str)]) -> String {
    let causes: Vec<Cause<'_>> = queues
        .iter()
        .map(|(queue, reason, text)| Cause::of_queue(queue, NotReady::new(*reason, *text)))
        .collect();
    worst(Status::False, &causes, |_| 0).unwrap().message
}

#[test]
fn queues_with_the_same_message_share_it() {
    let same = |names: &[&'static str]| {
        let named = names.iter();
        let queues: Vec<_> = named
            .map(|name| (*name, Reason::NotPolling, "nobody polls"))
            .collect();
        message(&queues)
    };
    assert_eq!(same(&["orders"]), "queue orders: nobody polls");
    assert_eq!(
        same(&["orders", "mails"]),
        "queues orders, mails: nobody polls"
    );
    assert_eq!(
        same(&["q1", "q2", "q3", "q4", "q5", "q6"]),
        "nobody polls",
        "no name adds anything if it concerns every one of many queues"
    );
}

#[test]
fn queues_with_different_messages_have_one_each() {
    let queues = [
        ("orders", Reason::NotPolling, "nobody polls"),
        ("mails", Reason::NotPolling, "the pods do not start"),
    ];
    assert_eq!(
        message(&queues),
        "queue orders: nobody polls; queue mails: the pods do not start"
    );
}

#[test]
fn a_message_about_many_queues_names_the_first_ones() {
    let names = ["q1", "q2", "q3", "q4", "q5", "q6"];
    let mut queues: Vec<_> = names
        .map(|name| (name, Reason::NotPolling, "nobody polls"))
        .to_vec();
    queues.push(("q7", Reason::Paused, "the queue is paused"));
    assert_eq!(
        message(&queues),
        "queues q1, q2, q3, q4, q5 and 1 more: nobody polls"
    );
    queues[6] = ("q7", Reason::NotPolling, "the pods do not start");
    assert_eq!(
        message(&queues),
        "queue q1: nobody polls; queue q2: nobody polls; queue q3: nobody polls; \
         queue q4: nobody polls; queue q5: nobody polls; and 2 more queues"
    );
    queues.pop();
    queues[0] = ("q1", Reason::NotPolling, "the pods do not start");
    assert!(message(&queues).ends_with("queue q5: nobody polls; and 1 more queue"));
}
