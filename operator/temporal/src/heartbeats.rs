//! Judges which workers are alive, by whether their heartbeats change between looks, and gathers a
//! list of workers from its pages. Pure; the time is passed in.
//!
//! The server keeps a worker's last heartbeat for about five minutes, whether the worker is alive
//! or not, stamped with the worker's own clock. So a heartbeat counts only once its stamp was seen
//! to change; for how long it counts depends on the worker's own interval.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use taskqueue_scaling::Time;

use crate::call::{Heartbeat, ListedWorker, WorkersPage};
use crate::subscription::WorkerReport;

/// Remembers the last heartbeat of every worker in a Temporal namespace.
#[derive(Debug, Default)]
pub(crate) struct Heartbeats {
    changes: BTreeMap<String, HeartbeatChange>,
    /// When the last look began.
    last_look: Option<Time>,
}

/// The stamp of a worker's last heartbeat, and when it last changed.
#[derive(Clone, Copy, Debug)]
struct HeartbeatChange {
    sent_at: Option<i128>,
    changed_at: Option<Time>,
    sent_after: Option<Time>,
    interval: Option<Duration>,
}

impl Heartbeats {
    /// Records a complete list, read from `began` to `now`, and reports for each worker when its
    /// heartbeat last changed.
    pub(crate) fn look(
        &mut self,
        list: Vec<Heartbeat>,
        began: Time,
        now: Time,
    ) -> Vec<WorkerReport> {
        let mut changes = BTreeMap::new();
        let mut reports = Vec::with_capacity(list.len());
        for heartbeat in list {
            let change = self.judge(&heartbeat, now);
            reports.push(report(&heartbeat, change));
            changes.insert(heartbeat.instance_key, change);
        }
        self.changes = changes;
        self.last_look = Some(began);
        reports
    }

    /// Whether a complete list was ever recorded.
    pub(crate) const fn looked(&self) -> bool {
        self.last_look.is_some()
    }

    fn judge(&self, heartbeat: &Heartbeat, now: Time) -> HeartbeatChange {
        let Some(before) = self.changes.get(&heartbeat.instance_key) else {
            // An entry that was missing at the last look has been written since. At the very first
            // look nothing is known about the age of any entry.
            return HeartbeatChange {
                sent_at: heartbeat.sent_at,
                changed_at: self.last_look.map(|_| now),
                sent_after: self.last_look,
                interval: heartbeat.elapsed,
            };
        };
        if before.sent_at == heartbeat.sent_at {
            return HeartbeatChange {
                interval: heartbeat.elapsed.or(before.interval),
                ..*before
            };
        }
        HeartbeatChange {
            sent_at: heartbeat.sent_at,
            changed_at: Some(now),
            sent_after: self.last_look,
            interval: heartbeat
                .elapsed
                .or_else(|| between(before.sent_at, heartbeat.sent_at)),
        }
    }
}

/// The time between two stamps of the same worker's clock; `None` if the clock was set back.
fn between(earlier: Option<i128>, later: Option<i128>) -> Option<Duration> {
    let nanos = later?.checked_sub(earlier?)?;
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

fn report(heartbeat: &Heartbeat, change: HeartbeatChange) -> WorkerReport {
    WorkerReport {
        instance_key: heartbeat.instance_key.clone(),
        identity: heartbeat.identity.clone(),
        host_name: heartbeat.host_name.clone(),
        process: heartbeat.process.clone(),
        task_queue: heartbeat.task_queue.clone(),
        status: heartbeat.status,
        sdk: heartbeat.sdk.clone(),
        heartbeat_changed_at: change.changed_at,
        heartbeat_sent_after: change.sent_after,
        heartbeat_interval: change.interval,
        sent_at: heartbeat.sent_at,
        started_at: heartbeat.started_at,
        slots: heartbeat.slots,
    }
}

/// Whether two lists of reports differ in anything but the passing of time.
pub(crate) fn differ(before: &[WorkerReport], after: &[WorkerReport]) -> bool {
    let same = |a: &WorkerReport, b: &WorkerReport| {
        a.instance_key == b.instance_key
            && a.status == b.status
            && a.slots == b.slots
            && a.heartbeat_changed_at.is_some() == b.heartbeat_changed_at.is_some()
    };
    before.len() != after.len() || !before.iter().zip(after).all(|(a, b)| same(a, b))
}

/// A list being gathered: first its pages, then, on servers that leave the slots out, the workers
/// one by one. Each step is one call.
#[derive(Debug)]
pub(crate) struct Gathering {
    found: Vec<Heartbeat>,
    to_describe: VecDeque<String>,
    pages: u32,
    next: Step,
}

/// The next call to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The page that begins with this token.
    Page(Vec<u8>),
    /// The worker with this instance key.
    Worker(String),
    /// None: the list is complete.
    Done,
}

/// At a thousand workers per page this allows a million workers. A server that sends more pages is
/// repeating the same token forever.
const MOST_PAGES: u32 = 1_000;

impl Gathering {
    /// Before the first page.
    pub(crate) fn new() -> Self {
        Self {
            found: Vec::new(),
            to_describe: VecDeque::new(),
            pages: 0,
            next: Step::Page(Vec::new()),
        }
    }

    /// The next call to make.
    pub(crate) fn step(&self) -> &Step {
        &self.next
    }

    /// Adds a page. Of the workers listed without slots, keeps only those on `wanted` task queues,
    /// since each costs a call. `Err` if the pages do not end.
    pub(crate) fn page(
        &mut self,
        page: WorkersPage,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), &'static str> {
        self.pages = self.pages.saturating_add(1);
        self.found.extend(page.workers);
        let wanted = |worker: &ListedWorker| wanted(&worker.task_queue);
        let listed = page.without_slots.into_iter().filter(wanted);
        self.to_describe
            .extend(listed.map(|worker| worker.instance_key));
        if page.next_page_token.is_empty() {
            self.next = self.next_worker();
        } else if self.pages >= MOST_PAGES {
            return Err("the worker list has too many pages");
        } else {
            self.next = Step::Page(page.next_page_token);
        }
        Ok(())
    }

    /// Adds one worker; `None` if the server no longer knows it.
    pub(crate) fn worker(&mut self, heartbeat: Option<Heartbeat>) {
        self.found.extend(heartbeat);
        self.next = self.next_worker();
    }

    /// The heartbeats found.
    pub(crate) fn finish(self) -> Vec<Heartbeat> {
        self.found
    }

    /// The minimum number of calls that this list still needs.
    pub(crate) fn calls_left(&self) -> u64 {
        self.to_describe.len() as u64
    }

    fn next_worker(&mut self) -> Step {
        self.to_describe
            .pop_front()
            .map_or(Step::Done, Step::Worker)
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_scaling::PerType;

    use super::*;
    use crate::call::WorkerStatus;

    const SECOND: i128 = 1_000_000_000;

    fn heartbeat(key: &str, sent_at: i128, elapsed: Option<u64>) -> Heartbeat {
        Heartbeat {
            instance_key: key.to_owned(),
            identity: format!("{key}@host"),
            host_name: "host".to_owned(),
            process: None,
            task_queue: "orders".to_owned(),
            status: WorkerStatus::Running,
            sdk: "temporal-rust 1".to_owned(),
            sent_at: Some(sent_at),
            started_at: None,
            elapsed: elapsed.map(Duration::from_secs),
            slots: PerType::default(),
        }
    }

    /// When each heartbeat changed, the time after which it was sent, and its interval, in seconds.
    fn changes(reports: &[WorkerReport]) -> Vec<(Option<u64>, Option<u64>, Option<u64>)> {
        let seconds = |time: Time| time.as_millis() / 1_000;
        reports
            .iter()
            .map(|report| {
                let interval = report.heartbeat_interval.map(|interval| interval.as_secs());
                let changed = report.heartbeat_changed_at.map(seconds);
                (changed, report.heartbeat_sent_after.map(seconds), interval)
            })
            .collect()
    }

    /// Records a list that took no time to read.
    fn look(heartbeats: &mut Heartbeats, list: Vec<Heartbeat>, second: u64) -> Vec<WorkerReport> {
        let now = Time::from_secs(second);
        heartbeats.look(list, now, now)
    }

    #[test]
    fn at_the_first_look_no_worker_is_known_to_be_alive() {
        let mut heartbeats = Heartbeats::default();
        let list = vec![heartbeat("a", 0, Some(5)), heartbeat("b", 0, Some(5))];
        assert_eq!(
            changes(&look(&mut heartbeats, list, 100)),
            [(None, None, Some(5)), (None, None, Some(5))]
        );
        // b sends heartbeats, a does not.
        let list = vec![
            heartbeat("a", 0, Some(5)),
            heartbeat("b", 5 * SECOND, Some(5)),
        ];
        assert_eq!(
            changes(&look(&mut heartbeats, list, 105)),
            [(None, None, Some(5)), (Some(105), Some(100), Some(5))]
        );
    }

    #[test]
    fn a_worker_that_appears_between_two_looks_started_after_the_earlier_one_began() {
        let mut heartbeats = Heartbeats::default();
        heartbeats.look(Vec::new(), Time::from_secs(93), Time::from_secs(100));
        let reports = look(&mut heartbeats, vec![heartbeat("a", 0, None)], 105);
        assert_eq!(changes(&reports), [(Some(105), Some(93), None)]);
    }

    #[test]
    fn the_wall_clock_of_a_worker_may_be_wrong_and_may_jump_back() {
        let mut heartbeats = Heartbeats::default();
        let mut at = |second, stamp: i128| {
            let list = vec![heartbeat("a", stamp * SECOND, None)];
            changes(&look(&mut heartbeats, list, second))
        };
        assert_eq!(at(100, 9_000), [(None, None, None)]);
        assert_eq!(at(105, -7), [(Some(105), Some(100), None)]);
        assert_eq!(at(115, 3), [(Some(115), Some(105), Some(10))]);
        assert_eq!(at(120, 3), [(Some(115), Some(105), Some(10))]);
    }

    #[test]
    fn a_list_is_read_page_by_page_and_then_worker_by_worker() {
        let mut gathering = Gathering::new();
        let listed = |key: &str, queue: &str| ListedWorker {
            instance_key: key.to_owned(),
            task_queue: queue.to_owned(),
        };
        assert_eq!(gathering.step(), &Step::Page(Vec::new()));
        let page = WorkersPage {
            workers: vec![heartbeat("a", 0, None)],
            without_slots: vec![listed("b", "orders"), listed("c", "not ours")],
            next_page_token: vec![1],
        };
        gathering.page(page, |queue| queue == "orders").unwrap();
        assert_eq!(gathering.step(), &Step::Page(vec![1]));
        let page = WorkersPage {
            without_slots: vec![listed("d", "orders")],
            ..WorkersPage::default()
        };
        gathering.page(page, |queue| queue == "orders").unwrap();
        assert_eq!(gathering.step(), &Step::Worker("b".to_owned()));
        gathering.worker(None);
        assert_eq!(gathering.step(), &Step::Worker("d".to_owned()));
        gathering.worker(Some(heartbeat("d", 0, None)));
        assert_eq!(gathering.step(), &Step::Done);
        assert_eq!(
            gathering.finish(),
            [heartbeat("a", 0, None), heartbeat("d", 0, None)]
        );
    }

    #[test]
    fn a_list_with_too_many_pages_is_given_up() {
        let mut gathering = Gathering::new();
        let endless = WorkersPage {
            next_page_token: vec![7],
            ..WorkersPage::default()
        };
        let end = (0..=MOST_PAGES).find_map(|_| gathering.page(endless.clone(), |_| true).err());
        assert_eq!(end, Some("the worker list has too many pages"));
    }
}
