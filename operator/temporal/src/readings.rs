//! The latest readings: readers publish them, callers look them up, and owners with news wait in a
//! queue. In memory, no I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use parking_lot::Mutex;
use taskqueue_scaling::{Reading, Time, UnknownReason};
use tokio::sync::Notify;

use crate::subscription::{OwnerKey, QueueReading};

/// One queue of one owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subscriber {
    pub(crate) owner: OwnerKey,
    pub(crate) queue: String,
}

/// The latest reading of every watched queue.
///
/// An entry carries the number of its watch. A reader that answers for a watch that has been
/// replaced since (by another server or task queue) writes nothing.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    entries: Mutex<BTreeMap<Subscriber, Entry>>,
    pending: Mutex<Pending>,
    changed: Notify,
}

#[derive(Debug)]
struct Entry {
    watch: u64,
    reading: QueueReading,
}

#[derive(Debug, Default)]
struct Pending {
    order: VecDeque<OwnerKey>,
    members: BTreeSet<OwnerKey>,
    closed: bool,
}

/// The reading of a queue that has not been read yet.
pub(crate) fn unread(since: Time) -> QueueReading {
    fn not_yet<T>(since: Time) -> Reading<T> {
        Reading::Unknown {
            reason: UnknownReason::NotReadYet,
            since,
            failures: 0,
        }
    }
    QueueReading {
        backlog: not_yet(since),
        workers: not_yet(since),
        backlog_failure: None,
        workers_failure: None,
    }
}

impl Readings {
    /// Starts a new watch of a queue, whose reading begins as not read yet.
    pub(crate) fn open(&self, subscriber: Subscriber, watch: u64, now: Time) {
        self.entries.lock().insert(
            subscriber,
            Entry {
                watch,
                reading: unread(now),
            },
        );
    }

    /// Ends the watch of a queue.
    pub(crate) fn close(&self, subscriber: &Subscriber) {
        self.entries.lock().remove(subscriber);
    }

    /// The latest reading.
    pub(crate) fn reading(&self, subscriber: &Subscriber) -> Option<QueueReading> {
        self.entries
            .lock()
            .get(subscriber)
            .map(|entry| entry.reading.clone())
    }

    /// When the backlog was last read; `None` if it is unknown.
    pub(crate) fn read_at(&self, subscriber: &Subscriber) -> Option<Time> {
        let entries = self.entries.lock();
        entries.get(subscriber)?.reading.backlog.taken_at()
    }

    /// Changes a reading, and queues its owner for an update if `change` returns that this is news.
    pub(crate) fn publish(
        &self,
        subscriber: &Subscriber,
        watch: u64,
        change: impl FnOnce(&mut QueueReading) -> bool,
    ) {
        let news = match self.entries.lock().get_mut(subscriber) {
            Some(entry) if entry.watch == watch => change(&mut entry.reading),
            Some(_) | None => false,
        };
        if news {
            self.tell(&subscriber.owner);
        }
    }

    fn tell(&self, owner: &OwnerKey) {
        let mut pending = self.pending.lock();
        if pending.members.insert(owner.clone()) {
            pending.order.push_back(owner.clone());
            drop(pending);
            self.changed.notify_one();
        }
    }

    /// The next owner with news; waits for one. `None` after [`Readings::end_updates`].
    pub(crate) async fn next_owner(&self) -> Option<OwnerKey> {
        loop {
            let changed = self.changed.notified();
            {
                let mut pending = self.pending.lock();
                if let Some(owner) = pending.order.pop_front() {
                    pending.members.remove(&owner);
                    return Some(owner);
                }
                if pending.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Ends the stream of owners.
    pub(crate) fn end_updates(&self) {
        self.pending.lock().closed = true;
        self.changed.notify_one();
    }
}
