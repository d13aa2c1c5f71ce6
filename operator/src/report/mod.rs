//! Says what was found and done: status, Events, metrics. The only writer of status and Events.
//!
//! The status is written once, at the end of a pass, and only if it says something else than before.

pub mod conditions;
pub mod drains;
pub mod events;
pub mod numbers;
pub mod status;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::core::ObjectMeta;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use taskqueue_api::{Fleet, TaskQueueWorker, TaskQueueWorkerStatus};

use crate::apply::{Applied, MANAGER};
use crate::caches::GuardedFleet;
use crate::clock::Moment;
use crate::error::{Call, Error};
use crate::memory::FleetMemory;
use crate::metrics::{FleetName, FleetNumbers, Metrics};
use crate::observe::Observed;
use crate::plan::Plan;
use crate::report::conditions::QueueFacts;
use crate::report::events::Happening;

/// Writes status and Events and sets the metrics of fleets.
#[derive(Clone)]
pub struct Reports {
    client: Client,
    recorder: Recorder,
    metrics: Metrics,
}

/// What a pass over an accepted spec came to.
pub struct Pass<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// What was seen.
    pub observed: &'a Observed,
    /// What was planned.
    pub plan: &'a Plan,
    /// What became of it.
    pub applied: &'a Applied,
}

/// The object that is reported on, as it was when the pass began.
pub struct Subject<'a> {
    /// Its metadata.
    pub metadata: &'a ObjectMeta,
    /// Its status, if it has one that can be read.
    pub status: Option<&'a TaskQueueWorkerStatus>,
}

impl<'a> Subject<'a> {
    /// From the object in the cache.
    pub fn of(object: &'a GuardedFleet) -> Self {
        match &object.0 {
            Ok(fleet) => Self {
                metadata: &fleet.metadata,
                status: fleet.status.as_ref(),
            },
            Err(malformed) => Self {
                metadata: &malformed.metadata,
                status: None,
            },
        }
    }

    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }

    fn fleet_name(&self) -> FleetName {
        FleetName {
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    fn reference(&self) -> ObjectReference {
        let mut reference: ObjectReference = ObjectRef::<TaskQueueWorker>::new(self.name())
            .within(self.namespace())
            .into();
        reference.uid.clone_from(&self.metadata.uid);
        reference
    }

    /// The status as it is now: what we wrote last, until the watch has shown it.
    fn present(&self, memory: &FleetMemory) -> TaskQueueWorkerStatus {
        let number = |text: &str| text.parse::<u64>().ok();
        let cached = self.metadata.resource_version.as_deref().and_then(number);
        match (&memory.status, self.status) {
            (Some((version, written)), Some(_)) if number(version) > cached => written.clone(),
            (Some((_, written)), None) => written.clone(),
            (_, Some(status)) => status.clone(),
            (None, None) => TaskQueueWorkerStatus::default(),
        }
    }
}

impl Reports {
    /// Reports under the name of this process.
    pub fn new(client: Client, metrics: Metrics, instance: String) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(instance),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            client,
            recorder,
            metrics,
        }
    }

    /// Reports on a pass over an accepted spec.
    ///
    /// # Errors
    /// If the status cannot be written.
    pub async fn pass(
        &self,
        subject: &Subject<'_>,
        pass: &Pass<'_>,
        memory: &mut FleetMemory,
        now: Moment,
    ) -> Result<(), Error> {
        let Pass {
            fleet,
            observed,
            plan,
            applied,
        } = pass;
        let queues = QueueFacts::collect(fleet, observed, plan, applied, memory);
        let verdicts = conditions::conditions(&queues, &applied.prune_errors, now.monotonic);
        let old = subject.present(memory);
        let new = status::status(&old, fleet.generation, &queues, &verdicts, now.wall);
        let numbers = numbers::numbers(&queues, &new, now);
        let mut happenings: Vec<Happening> = queues
            .iter()
            .flat_map(|facts| [events::changes(facts), drains::exceeded(facts, now.wall)].concat())
            .collect();
        happenings.extend(applied.pruned.iter().map(events::removed));
        self.metrics.set_fleet(subject.fleet_name(), numbers);
        self.write(subject, &old, new, happenings, memory).await
    }

    /// Reports that a spec cannot be accepted.
    ///
    /// # Errors
    /// If the status cannot be written.
    pub async fn refused(
        &self,
        subject: &Subject<'_>,
        message: &str,
        memory: &mut FleetMemory,
        now: Moment,
    ) -> Result<(), Error> {
        let old = subject.present(memory);
        let verdicts = conditions::invalid(message);
        let new = status::refused(&old, subject.generation(), &verdicts, now.wall);
        let numbers = FleetNumbers {
            conditions: numbers::conditions(&new),
            ..FleetNumbers::default()
        };
        self.metrics.set_fleet(subject.fleet_name(), numbers);
        self.write(subject, &old, new, Vec::new(), memory).await
    }

    async fn write(
        &self,
        subject: &Subject<'_>,
        old: &TaskQueueWorkerStatus,
        new: TaskQueueWorkerStatus,
        mut happenings: Vec<Happening>,
        memory: &mut FleetMemory,
    ) -> Result<(), Error> {
        let written = if status::same(old, &new) {
            Ok(())
        } else {
            happenings.extend(events::transitions(old, &new));
            self.patch(subject, new, memory).await
        };
        events::publish(&self.recorder, &subject.reference(), happenings).await;
        written
    }

    async fn patch(
        &self,
        subject: &Subject<'_>,
        new: TaskQueueWorkerStatus,
        memory: &mut FleetMemory,
    ) -> Result<(), Error> {
        // Guarded: the answer holds the whole object, which may be one that cannot be read.
        let fleets: Api<GuardedFleet> = Api::namespaced(self.client.clone(), subject.namespace());
        let body = json!({
            "apiVersion": "taskqueue.dev/v1alpha1",
            "kind": "TaskQueueWorker",
            "metadata": {"name": subject.name(), "uid": subject.metadata.uid},
            "status": new,
        });
        let params = PatchParams::apply(MANAGER).force();
        self.metrics.write("status", "TaskQueueWorker");
        match fleets
            .patch_status(subject.name(), &params, &Patch::Apply(&body))
            .await
        {
            Ok(object) => {
                let version = Subject::of(&object).metadata.resource_version.clone();
                memory.status = Some((version.unwrap_or_default(), new));
                Ok(())
            }
            Err(error) => {
                let call = Call::new(
                    "write the status of",
                    "TaskQueueWorker",
                    subject.namespace(),
                    subject.name(),
                );
                let error = Error::kube(call, error);
                // Gone, or made anew under the same name: nobody is left to be told.
                if error.is_not_found() || error.is_conflict() {
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
