//! That a panic of ours is the error of what caused it, and ends no reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskqueue_scaling::{Reading, UnknownReason};
use taskqueue_temporal::*;
use taskqueue_testkit::scripted::*;

#[tokio::test(start_paused = true)]
async fn an_answer_that_panics_is_the_error_of_its_queue_alone() {
    let (fake, readers) = readers();
    fake.script(|script| script.panics.insert("bad".to_owned()));
    fake.backlog("orders", 3);
    let queues = [watch("bad"), watch("orders")];
    readers.watch(&owner("a"), &connection(), &queues);
    until(&readers, 20.0).await;
    let bad = readers.reading(&owner("a"), "bad");
    let Reading::Unknown { reason, .. } = bad.backlog else {
        panic!("{bad:?}");
    };
    assert_eq!(reason, UnknownReason::Malformed);
    assert_eq!(
        bad.backlog_failure.unwrap().message,
        "DescribeTaskQueue at temporal:7233/default failed with Internal: the operator panicked: \
         as scripted; please report it"
    );
    let taken_at = readers.read_at(&owner("a"), "orders").unwrap();
    assert!(taken_at > at(15.0), "{taken_at:?}");
    fake.script(|script| script.panics.clear());
    until(&readers, 80.0).await;
    let back = readers.reading(&owner("a"), "bad");
    assert_eq!(back.backlog_failure, None);
}

/// An observer that panics at the first call to a Temporal namespace after it was armed.
#[derive(Default)]
struct Panics(AtomicBool);

impl Observer for Panics {
    fn call(&self, of: &ServerNamespace, _: Method, _: &'static str, _: Duration) {
        let strikes = of.temporal_namespace == "default" && self.0.swap(false, Ordering::Relaxed);
        assert!(!strikes, "as scripted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_panics_begins_anew_with_all_that_it_watched() {
    let clock = Clock::start();
    let (fake, observer) = (FakeTemporal::new(clock), Arc::new(Panics::default()));
    let config = ReadersConfig::default();
    let readers = Readers::new(fake.clone(), observer.clone(), config, clock);
    let queues = ["a", "b"];
    for queue in queues {
        readers.watch(&owner(queue), &connection(), &[watch(queue)]);
    }
    let elsewhere = connection_to("temporal:7233", "other");
    readers.watch(&owner("c"), &elsewhere, &[watch("c")]);
    until(&readers, 12.0).await;
    observer.0.store(true, Ordering::Relaxed);
    until(&readers, 30.0).await;
    assert!(!observer.0.load(Ordering::Relaxed), "it has panicked");
    for queue in ["a", "b", "c"] {
        let taken_at = readers.read_at(&owner(queue), queue).unwrap();
        assert!(taken_at > at(20.0), "{queue}: {taken_at:?}");
    }
    assert_eq!(readers.budgets().len(), 2);
    // What the owners ask for later reaches the new reader.
    readers.forget(&owner("a"));
    readers.watch(&owner("b"), &connection(), &[watch("later")]);
    let before = fake.times("describe a ").len();
    until(&readers, 45.0).await;
    assert_eq!(fake.times("describe a ").len(), before);
    assert!(!fake.times("describe later ").is_empty());
}
