//! Limits how often each Temporal namespace is read, as Temporal Cloud does: beyond the limit of a
//! namespace, it refuses reads before the calls of workers and of clients that start workflows.
//! Only reads are limited here. A namespace is known by the header that Temporal's SDKs send.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use http::HeaderMap;

/// The calls that read the state of task queues and workers.
const READS: [&str; 3] = ["DescribeTaskQueue", "ListWorkers", "DescribeWorker"];
/// The header with the Temporal namespace of a request.
const TEMPORAL_NAMESPACE: &str = "temporal-namespace";

/// How often a namespace may be read; without limit by default.
#[derive(Default)]
pub(crate) struct ReadLimit(Mutex<State>);

#[derive(Default)]
struct State {
    /// The reads that are admitted in any span of this length.
    limit: Option<(usize, Duration)>,
    /// By Temporal namespace. A request without the header counts as the empty one.
    namespaces: BTreeMap<String, Reads>,
}

#[derive(Default)]
struct Reads {
    /// When the reads of the last span were admitted.
    admitted: Vec<Instant>,
    refused: usize,
}

impl ReadLimit {
    /// Allows each namespace this many reads in any span of this length, from now on.
    pub(crate) fn set(&self, reads: usize, span: Duration) {
        self.0.lock().expect("the lock is not poisoned").limit = Some((reads, span));
    }

    /// Allows any number of reads from now on.
    pub(crate) fn lift(&self) {
        self.0.lock().expect("the lock is not poisoned").limit = None;
    }

    /// How many reads of a namespace were refused.
    pub(crate) fn refused(&self, temporal_namespace: &str) -> usize {
        let state = self.0.lock().expect("the lock is not poisoned");
        let reads = state.namespaces.get(temporal_namespace);
        reads.map_or(0, |reads| reads.refused)
    }

    /// Whether the request may pass; counts it.
    pub(super) fn admits(&self, path: &str, headers: &HeaderMap) -> bool {
        let method = path.rsplit('/').next().unwrap_or_default();
        if !READS.contains(&method) {
            return true;
        }
        let namespace = headers.get(TEMPORAL_NAMESPACE);
        let namespace = namespace.and_then(|value| value.to_str().ok());
        let mut state = self.0.lock().expect("the lock is not poisoned");
        let limit = state.limit;
        let reads = state
            .namespaces
            .entry(namespace.unwrap_or_default().to_owned())
            .or_default();
        let now = Instant::now();
        if let Some((most, span)) = limit {
            reads.admitted.retain(|at| now.duration_since(*at) < span);
            if reads.admitted.len() >= most {
                reads.refused += 1;
                return false;
            }
        }
        reads.admitted.push(now);
        true
    }
}
