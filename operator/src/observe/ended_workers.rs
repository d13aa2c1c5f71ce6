//! Keeps how the workers of draining pods ended until the next pass reads it. In memory.

use std::collections::VecDeque;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use taskqueue_api::well_known;

use crate::observe::drains::Draining;

/// How the workers of deleted pods ended. The kubelet reports how containers ended just before
/// their pod disappears, so often only the deletion event contains it.
#[derive(Debug, Clone, Default)]
pub struct EndedWorkers(Arc<Mutex<VecDeque<EndedWorker>>>);

#[derive(Debug)]
struct EndedWorker {
    namespace: Option<String>,
    fleet: String,
    queue: String,
    draining: Draining,
}

impl EndedWorkers {
    /// Maximum number of entries. Only entries of deleted fleets accumulate, because nobody takes
    /// them.
    const MOST: usize = 1000;

    /// Keeps how the worker of a draining pod ended, if it has ended.
    pub fn keep(&self, pod: &Pod) {
        let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).cloned();
        let ended = Draining::of(pod)
            .filter(|draining| draining.end.is_some())
            .and_then(|draining| {
                Some(EndedWorker {
                    namespace: pod.metadata.namespace.clone(),
                    fleet: label(well_known::WORKER_LABEL)?,
                    queue: label(well_known::QUEUE_LABEL)?,
                    draining,
                })
            });
        let Some(ended) = ended else { return };
        let mut all = self.0.lock();
        all.retain(|before| {
            before.namespace != ended.namespace || before.draining.pod != ended.draining.pod
        });
        all.push_back(ended);
        while all.len() > Self::MOST {
            all.pop_front();
        }
    }

    /// Removes and returns the entries of a fleet, each with its queue.
    pub fn take(&self, namespace: &str, fleet: &str) -> Vec<(String, Draining)> {
        let mut all = self.0.lock();
        let (mine, others) = std::mem::take(&mut *all)
            .into_iter()
            .partition::<VecDeque<_>, _>(|ended| {
                ended.fleet == fleet && ended.namespace.as_deref() == Some(namespace)
            });
        *all = others;
        mine.into_iter()
            .map(|ended| (ended.queue, ended.draining))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod that is being deleted, with its worker in this state.
    fn deleted(name: &str, state: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "shop", "deletionTimestamp": "2026-01-01T12:01:15Z",
                "deletionGracePeriodSeconds": 75,
                "labels": {"taskqueue.dev/worker": "orders", "taskqueue.dev/queue": "mails"},
            },
            "spec": {
                "terminationGracePeriodSeconds": 75, "containers": [{"name": "worker"}],
            },
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": state},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn the_end_of_a_worker_is_kept_for_its_fleet_and_returned_once() {
        let workers = EndedWorkers::default();
        let ended = deleted("p", &json!({"terminated": {"exitCode": 0}}));
        workers.keep(&deleted("p", &json!({"running": {}})));
        workers.keep(&ended);
        workers.keep(&ended);
        assert_eq!(workers.take("shop", "invoices"), []);
        assert_eq!(workers.take("bank", "orders"), []);
        let draining = Draining::of(&ended).unwrap();
        assert_eq!(
            workers.take("shop", "orders"),
            [("mails".to_owned(), draining)]
        );
        assert_eq!(workers.take("shop", "orders"), []);
    }

    #[test]
    fn workers_that_nobody_takes_are_dropped() {
        let workers = EndedWorkers::default();
        for number in 0..1_500 {
            let state = json!({"terminated": {"exitCode": 0}});
            workers.keep(&deleted(&format!("p{number}"), &state));
        }
        assert_eq!(workers.take("shop", "orders").len(), EndedWorkers::MOST);
    }
}
