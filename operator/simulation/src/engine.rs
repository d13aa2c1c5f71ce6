//! The event loop of the simulation, in order of virtual time. Deterministic, no I/O.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::fleet::{Fleet, PodId, PodState, Running};
use crate::queue::{Queue, Statistics, Waiting};
use crate::report::{Cut, Summary};
use crate::rng::Rng;
use crate::time::Millis;
use crate::trace::{Setup, Throttle, Trace};

/// From a change of `replicas` to the ReplicaSet controller's reaction.
const CONTROL_PLANE: Millis = 200;
/// How often a metrics pipeline updates its gauges.
const GAUGE: Millis = 60_000;
/// The interval between points of the timeline.
const POINT: Millis = 5_000;
/// A run whose tasks do not end is abandoned after this much extra time.
const OVERTIME: Millis = 4 * 3_600_000;

/// What ListWorkers returns about one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its pod.
    pub pod: PodId,
    /// When it sent this heartbeat.
    pub sent_at: Millis,
    /// Slots in use at that time.
    pub used: u32,
    /// Slots free at that time; `None` if its slot supplier has no fixed limit.
    pub available: Option<u32>,
    /// Tasks processed by that time.
    pub processed: u64,
    /// Whether it was shutting down at that time.
    pub stopping: bool,
    /// The interval between its heartbeats.
    pub interval: Millis,
}

/// A new number of replicas, with the deletion costs to set first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scale {
    /// The replicas to request.
    pub replicas: u32,
    /// Deletion costs; all other pods get 0.
    pub costs: Vec<(PodId, i32)>,
}

/// What a policy does when it wakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// When it wants to wake next.
    pub next: Millis,
    /// What it changes.
    pub scale: Option<Scale>,
}

/// What a policy can see. Counts the calls to Temporal.
pub struct Cluster<'a> {
    engine: &'a mut Engine,
    now: Millis,
}

impl Cluster<'_> {
    /// The present virtual time.
    pub const fn now(&self) -> Millis {
        self.now
    }

    /// One DescribeTaskQueue; `None` if Temporal does not answer.
    pub fn statistics(&mut self) -> Option<Statistics> {
        self.engine.calls += 1;
        (!self.engine.is_out(self.now)).then(|| self.engine.queue.statistics(self.now))
    }

    /// One DescribeTaskQueue that bypasses the server's cache and leaves it unchanged.
    pub fn statistics_now(&mut self) -> Option<Statistics> {
        self.engine.calls += 1;
        (!self.engine.is_out(self.now)).then(|| self.engine.queue.measure(self.now))
    }

    /// One ListWorkers; `None` if Temporal does not answer.
    pub fn workers(&mut self) -> Option<Vec<WorkerRow>> {
        self.engine.calls += 1;
        if self.engine.is_out(self.now) {
            return None;
        }
        Some(self.engine.list_workers())
    }

    /// The backlog as a metrics pipeline shows it: up to a minute old. Takes no call to Temporal.
    pub fn backlog_gauge(&self) -> u64 {
        self.engine.queue.gauge
    }

    /// The number of tasks so far that found no free slot, and the time of the last one: what a
    /// hook inside the server would see. Takes no call.
    pub fn unmatched(&self) -> (u64, Option<Millis>) {
        (self.engine.queue.unmatched, self.engine.queue.unmatched_at)
    }

    /// The slots in use on ready pods at this moment: what a sum over the workers' own metrics
    /// shows to those who scrape them. Takes no call to Temporal.
    pub fn slots_in_use(&self) -> u64 {
        let fleet = &self.engine.fleet;
        let ready = fleet
            .alive
            .iter()
            .map(|pod| &fleet.pods[*pod])
            .filter(|pod| pod.state == PodState::Ready);
        ready.map(|pod| pod.running.len() as u64).sum()
    }

    /// How long the ready pods took to become ready, as their own conditions say.
    pub fn start_up(&self) -> Option<Duration> {
        let ready = self.engine.fleet.count(PodState::Ready) > 0;
        ready.then(|| Duration::from_millis(self.engine.setup.start_delay))
    }

    /// `spec.replicas`.
    pub const fn requested(&self) -> u32 {
        self.engine.requested
    }

    /// The pods that have drained since the last call. Kubernetes reports how workers ended.
    pub fn drained(&mut self) -> Vec<PodId> {
        std::mem::take(&mut self.engine.fleet.drained)
    }

    /// The pods that are not gone, with their state.
    pub fn pods(&self) -> Vec<(PodId, PodState)> {
        let fleet = &self.engine.fleet;
        fleet
            .alive
            .iter()
            .map(|pod| (*pod, fleet.pods[*pod].state))
            .collect()
    }
}

/// Kubernetes' default termination grace.
pub const DEFAULT_GRACE: Millis = 30_000;

/// A scaling policy.
pub trait Scaler {
    /// Its name in the table.
    fn name(&self) -> &str;

    /// The replicas that it starts with.
    fn initial_replicas(&self) -> u32;

    /// The termination grace of its pods. Only a tool that sets one differs from Kubernetes'
    /// default.
    fn grace(&self) -> Millis {
        DEFAULT_GRACE
    }

    /// Whether it is this project's policy.
    fn is_ours(&self) -> bool {
        false
    }

    /// Looks at the cluster, and changes it if necessary.
    fn wake(&mut self, cluster: &mut Cluster<'_>) -> Action;

    /// Restarts the process: it loses its state in memory.
    fn restart(&mut self) {}
}

/// A point of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The virtual time.
    pub at: Millis,
    /// Tasks that wait.
    pub backlog: u64,
    /// How long the head of the backlog has waited.
    pub age: Millis,
    /// Tasks in work.
    pub in_flight: u64,
    /// `spec.replicas`.
    pub requested: u32,
    /// Ready pods.
    pub ready: u32,
}

/// The result of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The numbers for the table.
    pub summary: Summary,
    /// The timeline for plots.
    pub timeline: Vec<Point>,
    /// How long each task waited, in the order of arrival; `None` if it never started.
    pub waits: Vec<Option<Millis>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The ReplicaSet controller compares the requested replicas with the existing ones.
    Reconcile,
    Ready(PodId),
    Finish(PodId, usize),
    Kill(PodId),
    Heartbeat(PodId),
    /// The rate limit allows one more task.
    Allowed,
    /// A pod's own limit allows one more task.
    Resume(PodId),
    Gauge,
    Restart,
    Point,
    Wake,
}

struct Engine {
    setup: Setup,
    queue: Queue,
    fleet: Fleet,
    events: BinaryHeap<Reverse<(Millis, u64, Event)>>,
    sequence: u64,
    rng: Rng,
    outages: Vec<(Millis, Millis)>,
    takes: Vec<Millis>,
    arrived: Vec<Millis>,
    waits: Vec<Option<Millis>>,
    unfinished: usize,
    requested: u32,
    grace: Millis,
    calls: u64,
    changes: Vec<(u32, u32)>,
    busy_removed: u32,
    cut: Cut,
    /// Whether the scaler could know by now that tasks of this queue outlast the grace.
    forewarned: bool,
    peak: u32,
    allowed_scheduled: Option<Millis>,
    /// When a limit that all workers share allows the next task.
    shared_at: Millis,
}

/// Runs a policy against a trace.
pub fn run(trace: &Trace, setup: &Setup, scaler: &mut dyn Scaler) -> Outcome {
    let mut engine = Engine::new(trace, setup, scaler.grace(), scaler.initial_replicas());
    let first = engine.rng.below(5_000) as Millis;
    engine.schedule(first, Event::Wake);
    for at in &trace.restarts {
        engine.schedule(*at, Event::Restart);
    }
    let mut timeline = Vec::new();
    let mut arrivals = trace.tasks.iter().enumerate().peekable();
    let mut now = 0;
    let give_up = trace.until + OVERTIME;
    while now < give_up && (now < trace.until || engine.unfinished > 0) {
        let event_at = engine
            .events
            .peek()
            .map_or(Millis::MAX, |Reverse((at, ..))| *at);
        if let Some((index, task)) = arrivals.next_if(|(_, task)| task.arrives <= event_at) {
            now = task.arrives;
            engine.arrive(index, now);
            continue;
        }
        let Some(Reverse((at, _, event))) = engine.events.pop() else {
            break;
        };
        if at >= trace.until && engine.unfinished == 0 {
            now = trace.until.max(now);
            break;
        }
        now = at;
        match event {
            Event::Wake => engine.wake(scaler, now),
            Event::Restart => scaler.restart(),
            Event::Point => {
                timeline.push(engine.point(now));
                engine.schedule(now + POINT, Event::Point);
            }
            other => engine.handle(other, now),
        }
    }
    Outcome {
        summary: engine.summary(trace, scaler, now.max(trace.until)),
        timeline,
        waits: engine.waits,
    }
}

impl Engine {
    fn new(trace: &Trace, setup: &Setup, grace: Millis, replicas: u32) -> Self {
        let mut engine = Self {
            setup: setup.clone(),
            queue: Queue::new(trace, setup.cache),
            fleet: Fleet::new(setup.slots),
            events: BinaryHeap::new(),
            sequence: 0,
            rng: Rng::new(setup.seed),
            outages: trace.outages.clone(),
            takes: trace.tasks.iter().map(|task| task.takes).collect(),
            arrived: trace.tasks.iter().map(|task| task.arrives).collect(),
            waits: vec![None; trace.tasks.len()],
            unfinished: trace.tasks.len(),
            requested: replicas,
            grace,
            calls: 0,
            changes: Vec::new(),
            busy_removed: 0,
            cut: Cut::default(),
            forewarned: false,
            peak: replicas,
            allowed_scheduled: None,
            shared_at: 0,
        };
        // Pods that exist at the start have been running for a while.
        for _ in 0..replicas {
            let pod = engine.fleet.create(0, &mut engine.rng);
            engine.fleet.ready(pod, 0);
            let offset = engine.rng.below(engine.setup.heartbeat as usize) as Millis;
            engine.schedule(offset, Event::Heartbeat(pod));
        }
        engine.schedule(GAUGE, Event::Gauge);
        engine.schedule(0, Event::Point);
        engine
    }

    fn schedule(&mut self, at: Millis, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn is_out(&self, now: Millis) -> bool {
        self.outages
            .iter()
            .any(|(from, to)| (*from..*to).contains(&now))
    }

    fn arrive(&mut self, task: usize, now: Millis) {
        self.queue.add(task, now);
        self.dispatch(now);
        // The server's hook sees only whether a task was matched at once.
        if self.waits[task].is_none() {
            self.queue.unmatched += 1;
            self.queue.unmatched_at = Some(now);
        }
    }

    fn dispatch(&mut self, now: Millis) {
        while let Some(allowed_at) = self.queue.dispatchable_at() {
            if self.shared_at > now {
                return;
            }
            let Some(pod) = self.fleet.pick(&mut self.rng) else {
                return;
            };
            if allowed_at > now {
                self.queue.was_limited(now);
                if self.allowed_scheduled.is_none_or(|at| at < allowed_at) {
                    self.allowed_scheduled = Some(allowed_at);
                    self.schedule(allowed_at, Event::Allowed);
                }
                return;
            }
            let Some(Waiting { task, .. }) = self.queue.dispatch(now) else {
                return;
            };
            let arrived = self.arrived[task];
            self.waits[task].get_or_insert(now - arrived);
            self.fleet.start(pod, task, now);
            self.schedule(now + self.takes[task], Event::Finish(pod, task));
            self.throttle(pod, now);
        }
    }

    /// Applies the workers' own limit after one of them has started a task.
    fn throttle(&mut self, pod: PodId, now: Millis) {
        match self.setup.throttle {
            None => {}
            Some(Throttle::Worker(milli)) => {
                self.fleet.pause(pod, true);
                self.schedule(now + 1_000_000 / milli.max(1), Event::Resume(pod));
            }
            Some(Throttle::All(milli)) => {
                self.shared_at = now + 1_000_000 / milli.max(1);
                self.schedule(self.shared_at, Event::Allowed);
            }
        }
    }

    fn handle(&mut self, event: Event, now: Millis) {
        match event {
            Event::Reconcile => self.reconcile(now),
            Event::Ready(pod) => self.become_ready(pod, now),
            Event::Finish(pod, task) => {
                if self.fleet.finish(pod, task, now) {
                    self.unfinished -= 1;
                    self.forewarned |= self.takes[task] > self.grace;
                }
            }
            Event::Kill(pod) => {
                for running in self.fleet.kill(pod, now) {
                    self.count_cut(pod, running);
                    self.queue.add(running.task, now);
                }
            }
            Event::Heartbeat(pod) => {
                if self.fleet.pods[pod].state != PodState::Gone {
                    self.fleet.heartbeat(pod, now);
                    self.schedule(now + self.setup.heartbeat, Event::Heartbeat(pod));
                }
            }
            Event::Gauge => {
                self.queue.gauge = self.queue.len() as u64;
                self.schedule(now + GAUGE, Event::Gauge);
            }
            Event::Allowed => self.allowed_scheduled = None,
            Event::Resume(pod) => self.fleet.pause(pod, false),
            Event::Restart | Event::Point | Event::Wake => {}
        }
        self.dispatch(now);
    }

    /// Counts a task that was cut off with its pod.
    fn count_cut(&mut self, id: PodId, running: Running) {
        let pod = &self.fleet.pods[id];
        // A pod that became ready after the decision had sent no heartbeat by then; any other pod
        // had.
        let unheard = (pod.ready_at > pod.decided.at).then_some(pod.decided.at);
        let seen = pod.decided.read.or(unheard);
        if seen.is_some_and(|seen| running.since > seen) {
            self.cut.raced += 1;
        } else if pod.forewarned {
            self.cut.known += 1;
        } else {
            self.cut.first += 1;
        }
    }

    fn become_ready(&mut self, pod: PodId, now: Millis) {
        // A worker sends its first heartbeat when it starts, before it has a task.
        if self.fleet.ready(pod, now) {
            self.fleet.heartbeat(pod, now);
            self.schedule(now + self.setup.heartbeat, Event::Heartbeat(pod));
        }
    }

    /// Returns the last heartbeat of every worker. If one shows a task that outlasts the grace, the
    /// scaler could know about such tasks from now on.
    fn list_workers(&mut self) -> Vec<WorkerRow> {
        let mut rows = Vec::new();
        for id in &self.fleet.alive {
            let pod = &mut self.fleet.pods[*id];
            let Some(beat) = pod.heartbeat else { continue };
            pod.read = Some(beat.sent);
            let longest = beat.oldest.map_or(0, |since| beat.sent - since);
            self.forewarned |= longest > self.grace;
            rows.push(WorkerRow {
                pod: *id,
                sent_at: beat.sent,
                used: beat.used,
                available: (self.setup.bounded).then(|| self.setup.slots - beat.used),
                processed: beat.processed,
                stopping: beat.stopping,
                interval: self.setup.heartbeat,
            });
        }
        rows
    }

    fn reconcile(&mut self, now: Millis) {
        let live = self.fleet.count(PodState::Starting) + self.fleet.count(PodState::Ready);
        for _ in live..self.requested {
            let pod = self.fleet.create(now, &mut self.rng);
            self.schedule(now + self.setup.start_delay, Event::Ready(pod));
        }
        let surplus = live.saturating_sub(self.requested) as usize;
        for (pod, busy) in self.fleet.terminate(surplus, now) {
            self.fleet.pods[pod].forewarned = self.forewarned;
            if busy {
                self.busy_removed += 1;
                self.schedule(now + self.grace, Event::Kill(pod));
            }
        }
    }

    fn wake(&mut self, scaler: &mut dyn Scaler, now: Millis) {
        let action = scaler.wake(&mut Cluster { engine: self, now });
        self.schedule(action.next.max(now + 1), Event::Wake);
        let Some(scale) = action
            .scale
            .filter(|scale| scale.replicas != self.requested)
        else {
            return;
        };
        for pod in &self.fleet.alive {
            self.fleet.pods[*pod].deletion_cost = 0;
        }
        for (pod, cost) in scale.costs {
            self.fleet.pods[pod].deletion_cost = cost;
        }
        self.changes.push((self.requested, scale.replicas));
        if scale.replicas < self.requested {
            self.fleet.decide(now);
        }
        self.requested = scale.replicas;
        self.peak = self.peak.max(self.requested);
        self.schedule(now + CONTROL_PLANE, Event::Reconcile);
    }

    fn point(&self, now: Millis) -> Point {
        let running = |pod: &PodId| self.fleet.pods[*pod].running.len() as u64;
        Point {
            at: now,
            backlog: self.queue.len() as u64,
            age: self.queue.age(now),
            in_flight: self.fleet.alive.iter().map(running).sum(),
            requested: self.requested,
            ready: self.fleet.count(PodState::Ready),
        }
    }

    fn summary(&self, trace: &Trace, scaler: &dyn Scaler, now: Millis) -> Summary {
        let mut waits: Vec<Millis> = self.waits.iter().flatten().copied().collect();
        waits.sort_unstable();
        let percentile = |percent: usize| {
            let rank = (waits.len() * percent).div_ceil(100).max(1) - 1;
            waits.get(rank).copied().unwrap_or(0)
        };
        let ups: Vec<bool> = self.changes.iter().map(|(from, to)| to > from).collect();
        let late = waits
            .iter()
            .filter(|wait| **wait > self.setup.target)
            .count();
        let ideal = trace.work() as f64 / f64::from(self.setup.slots);
        Summary {
            policy: scaler.name().to_owned(),
            own: scaler.is_ours(),
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max: waits.last().copied().unwrap_or(0),
            late_permille: (late * 1000 / waits.len().max(1)) as u32,
            cost: self.fleet.worker_millis(now) as f64 / ideal.max(1.0),
            reversals: ups.windows(2).filter(|pair| pair[0] != pair[1]).count() as u32,
            from_zero: self.changes.iter().filter(|(from, _)| *from == 0).count() as u32,
            busy_removed: self.busy_removed,
            cut: self.cut,
            calls: self.calls,
            peak: self.peak,
            unfinished: self.unfinished as u32,
        }
    }
}
