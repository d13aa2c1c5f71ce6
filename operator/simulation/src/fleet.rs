//! The pods of one Deployment, and Kubernetes' choice of victims. Deterministic, no I/O.

use crate::rng::Rng;
use crate::time::Millis;

/// A pod, counted from 0 in the order of creation.
pub type PodId = usize;

/// The phase of a pod's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodState {
    /// Not ready yet.
    Starting,
    /// Takes tasks.
    Ready,
    /// Finishes its tasks.
    Terminating,
    /// Gone.
    Gone,
}

/// A task in work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    pub(crate) task: usize,
    pub(crate) since: Millis,
}

/// A heartbeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    pub(crate) sent: Millis,
    pub(crate) used: u32,
    pub(crate) processed: u64,
    /// Since when its oldest task has been running. Not part of a real heartbeat: it serves to
    /// count what could have been known.
    pub(crate) oldest: Option<Millis>,
    /// Whether the worker takes no new tasks.
    pub(crate) stopping: bool,
}

/// A decision to remove pods, from the viewpoint of one pod.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Decided {
    pub(crate) at: Millis,
    /// When the newest heartbeat of the pod that the scaler had read was sent.
    pub(crate) read: Option<Millis>,
}

/// One pod.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) state: PodState,
    pub(crate) created: Millis,
    pub(crate) ready_at: Millis,
    pub(crate) running: Vec<Running>,
    pub(crate) processed: u64,
    pub(crate) deletion_cost: i32,
    /// The last heartbeat of the pod.
    pub(crate) heartbeat: Option<Beat>,
    /// What the scaler knew when it last decided that fewer pods are enough.
    pub(crate) decided: Decided,
    /// Whether the scaler could know at the time of SIGTERM that tasks of this queue outlast the
    /// grace.
    pub(crate) forewarned: bool,
    /// When the newest heartbeat that the scaler has read was sent.
    pub(crate) read: Option<Millis>,
    /// Whether a limit of its own keeps it from taking a task.
    paused: bool,
    /// Its position in the list of pods with a free slot.
    free_at: Option<usize>,
    /// The final tie-breaker, in place of Kubernetes' uid.
    tie: u64,
}

/// All pods of the Deployment.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) pods: Vec<Pod>,
    /// Pods that are not gone.
    pub(crate) alive: Vec<PodId>,
    free: Vec<PodId>,
    slots: usize,
    /// The summed lifetimes of pods that are gone.
    pub(crate) paid: Millis,
    /// Pods that were gone before their grace was over, because they had no task left.
    pub(crate) drained: Vec<PodId>,
}

impl Fleet {
    pub(crate) fn new(slots: u32) -> Self {
        let slots = slots as usize;
        Self {
            pods: Vec::new(),
            alive: Vec::new(),
            free: Vec::new(),
            slots,
            paid: 0,
            drained: Vec::new(),
        }
    }

    pub(crate) fn create(&mut self, now: Millis, rng: &mut Rng) -> PodId {
        let pod = self.pods.len();
        self.pods.push(Pod {
            state: PodState::Starting,
            created: now,
            ready_at: 0,
            running: Vec::new(),
            processed: 0,
            deletion_cost: 0,
            heartbeat: None,
            decided: Decided::default(),
            forewarned: false,
            read: None,
            paused: false,
            free_at: None,
            tie: rng.bits(),
        });
        self.alive.push(pod);
        pod
    }

    pub(crate) fn count(&self, state: PodState) -> u32 {
        self.alive
            .iter()
            .filter(|pod| self.pods[**pod].state == state)
            .count() as u32
    }

    /// Makes a starting pod ready.
    pub(crate) fn ready(&mut self, pod: PodId, now: Millis) -> bool {
        if self.pods[pod].state != PodState::Starting {
            return false;
        }
        self.pods[pod].state = PodState::Ready;
        self.pods[pod].ready_at = now;
        self.update_free(pod);
        true
    }

    /// Picks a random pod with a free slot, because waiting pollers are matched in no particular
    /// order.
    pub(crate) fn pick(&self, rng: &mut Rng) -> Option<PodId> {
        self.free.get(rng.below(self.free.len())).copied()
    }

    pub(crate) fn start(&mut self, pod: PodId, task: usize, now: Millis) {
        self.pods[pod].running.push(Running { task, since: now });
        self.update_free(pod);
    }

    /// Sets whether a limit of its own keeps a pod from taking a task.
    pub(crate) fn pause(&mut self, pod: PodId, paused: bool) {
        self.pods[pod].paused = paused;
        self.update_free(pod);
    }

    /// Ends a task; false if the pod no longer runs it.
    pub(crate) fn finish(&mut self, pod: PodId, task: usize, now: Millis) -> bool {
        let running = &mut self.pods[pod].running;
        let Some(index) = running.iter().position(|running| running.task == task) else {
            return false;
        };
        running.swap_remove(index);
        self.pods[pod].processed += 1;
        self.update_free(pod);
        if self.pods[pod].state == PodState::Terminating && self.pods[pod].running.is_empty() {
            self.drained.push(pod);
            self.gone(pod, now);
        }
        true
    }

    pub(crate) fn heartbeat(&mut self, pod: PodId, now: Millis) {
        let pod = &mut self.pods[pod];
        pod.heartbeat = Some(Beat {
            sent: now,
            used: pod.running.len() as u32,
            processed: pod.processed,
            oldest: pod.running.iter().map(|running| running.since).min(),
            stopping: pod.state == PodState::Terminating,
        });
    }

    /// Records that the scaler decides, from what it has read so far, that fewer pods are enough.
    pub(crate) fn decide(&mut self, now: Millis) {
        for pod in &self.alive {
            let pod = &mut self.pods[*pod];
            // A terminating pod keeps the decision that ended it.
            if pod.state != PodState::Terminating {
                pod.decided = Decided {
                    at: now,
                    read: pod.read,
                };
            }
        }
    }

    /// Terminates pods in the order of the ReplicaSet controller: not ready before ready, then the
    /// lower deletion cost, then the shorter time since ready (by powers of two), then any. Returns
    /// the pods and whether each was busy.
    pub(crate) fn terminate(&mut self, count: usize, now: Millis) -> Vec<(PodId, bool)> {
        let live =
            |pod: &&PodId| matches!(self.pods[**pod].state, PodState::Starting | PodState::Ready);
        let mut candidates: Vec<PodId> = self.alive.iter().filter(live).copied().collect();
        candidates.sort_by_key(|pod| {
            let pod = &self.pods[*pod];
            let age = (now - pod.ready_at.min(now)) / 1000;
            (
                pod.state == PodState::Ready,
                pod.deletion_cost,
                (age + 1).ilog2(),
                pod.tie,
            )
        });
        candidates.truncate(count);
        let mut victims = Vec::new();
        for pod in candidates {
            let busy = !self.pods[pod].running.is_empty();
            self.pods[pod].state = PodState::Terminating;
            self.update_free(pod);
            if !busy {
                self.gone(pod, now);
            }
            victims.push((pod, busy));
        }
        victims
    }

    /// Ends a pod whose grace is over; returns the tasks that it was still running.
    pub(crate) fn kill(&mut self, pod: PodId, now: Millis) -> Vec<Running> {
        if self.pods[pod].state != PodState::Terminating {
            return Vec::new();
        }
        let lost = std::mem::take(&mut self.pods[pod].running);
        self.gone(pod, now);
        lost
    }

    /// The summed lifetimes of all pods up to now, including those that still exist.
    pub(crate) fn worker_millis(&self, now: Millis) -> Millis {
        self.paid
            + self
                .alive
                .iter()
                .map(|pod| now - self.pods[*pod].created)
                .sum::<Millis>()
    }

    fn gone(&mut self, pod: PodId, now: Millis) {
        self.pods[pod].state = PodState::Gone;
        self.paid += now - self.pods[pod].created;
        self.alive.retain(|alive| *alive != pod);
    }

    fn update_free(&mut self, pod: PodId) {
        let state = &self.pods[pod];
        let has_slot = state.running.len() < self.slots && !state.paused;
        let free = state.state == PodState::Ready && has_slot;
        match (free, state.free_at) {
            (true, None) => {
                self.pods[pod].free_at = Some(self.free.len());
                self.free.push(pod);
            }
            (false, Some(index)) => {
                self.free.swap_remove(index);
                if let Some(moved) = self.free.get(index) {
                    self.pods[*moved].free_at = Some(index);
                }
                self.pods[pod].free_at = None;
            }
            _ => {}
        }
    }
}
