//! Reports what was found and done: status, Events, metrics. The only writer of status and Events.
//!
//! The status is written once, at the end of a pass, and only if more than its times has changed.

pub mod advice;
pub mod certificates;
pub mod conditions;
pub mod connections;
pub mod drains;
pub mod events;
pub mod facts;
pub mod fleet_metrics;
pub mod log;
pub mod status;
pub mod thresholds;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, ObjectMeta};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use taskqueue_api::well_known::MANAGER;
use taskqueue_api::{Fleet, GuardedFleet, TaskQueueWorker, TaskQueueWorkerStatus};
use taskqueue_kubernetes::kube_error::Call;
use taskqueue_temporal::OwnerKey;

use crate::applied::Applied;
use crate::clock::Moment;
use crate::error::Error;
use crate::fleet_state::{FleetState, WrittenStatus};
use crate::metrics::{FleetNumbers, Metrics};
use crate::observe::Observed;
use crate::plan::Plan;
use crate::report::advice::Advice;
use crate::report::certificates::Certificates;
use crate::report::conditions::blocked::{QueueCarryOver, Unpruned};
use crate::report::conditions::draft::ConditionDraft;
use crate::report::events::{Details, EventDraft};
use crate::report::facts::QueueFacts;
use crate::report::thresholds::Thresholds;

/// Writes status and Events and sets the metrics of fleets.
#[derive(Clone)]
pub struct Reports {
    client: Client,
    recorder: Recorder,
    metrics: Metrics,
    thresholds: Thresholds,
}

/// The results of a pass over an accepted spec.
pub struct Pass<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// What was observed.
    pub observed: &'a Observed,
    /// What was planned.
    pub plan: &'a Plan,
    /// The outcome of the plan.
    pub applied: &'a Applied,
}

/// What a report leaves for the next passes.
pub struct Report {
    /// The advice given, by queue.
    pub advised: Vec<Advice>,
    /// What the next conditions of each queue need to know.
    pub carry_over: Vec<QueueCarryOver>,
    /// The status, if it was written, or why it could not be.
    pub status: Result<Option<WrittenStatus>, Error>,
}

/// The object that is reported on, as it was at the start of the pass.
pub struct Subject<'a> {
    /// Its metadata.
    pub metadata: &'a ObjectMeta,
    /// Its status, if it has one and the object can be read.
    pub status: Option<&'a TaskQueueWorkerStatus>,
    /// Whether the whole object can be read.
    pub readable: bool,
}

impl<'a> Subject<'a> {
    /// Creates a subject from the object in the cache.
    pub fn of(object: &'a GuardedFleet) -> Self {
        match &object.0 {
            Ok(fleet) => Self {
                metadata: &fleet.metadata,
                status: fleet.status.as_ref(),
                readable: true,
            },
            Err(malformed) => Self {
                metadata: &malformed.metadata,
                status: None,
                readable: false,
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

    fn fleet_name(&self) -> OwnerKey {
        OwnerKey {
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

    /// The current status: the one that we wrote last, until the watch has shown it.
    fn present(&self, state: &FleetState) -> TaskQueueWorkerStatus {
        let number = |text: &str| text.parse::<u64>().ok();
        let cached = self.metadata.resource_version.as_deref().and_then(number);
        match (&state.status, self.status) {
            (Some(written), Some(_)) if number(&written.version) > cached => written.status.clone(),
            (Some(written), None) => written.status.clone(),
            (_, Some(status)) => status.clone(),
            (None, None) => TaskQueueWorkerStatus::default(),
        }
    }
}

impl Reports {
    /// Creates reports. `instance` is the name of this process in Events.
    pub fn new(client: Client, metrics: Metrics, instance: String, thresholds: Thresholds) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(instance),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            client,
            recorder,
            metrics,
            thresholds,
        }
    }

    /// Reports on a pass over an accepted spec.
    pub async fn pass(
        &self,
        subject: &Subject<'_>,
        pass: &Pass<'_>,
        state: &FleetState,
        now: Moment,
    ) -> Report {
        let Pass {
            fleet,
            observed,
            plan,
            applied,
        } = pass;
        let queues = QueueFacts::collect(fleet, observed, plan, applied, state);
        let unpruned = Unpruned {
            errors: &applied.prune_errors,
            since: state.unpruned,
        };
        let mut drafts =
            conditions::conditions(&queues, &unpruned, &self.thresholds, now.monotonic);
        let usable = observed.connection.as_ref().ok();
        let certificates = usable.map(|usable| Certificates::of(usable, now.wall));
        let warning = self.thresholds.certificate_warning;
        drafts.extend(certificates.as_ref().and_then(|all| all.draft(warning)));
        let details = details(&drafts, fleet);
        let old = subject.present(state);
        let generation = fleet.generation;
        let new = status::status(&old, generation, &queues, &drafts, now.wall);
        let mut numbers = fleet_metrics::numbers(&queues, &new, now);
        numbers.server_namespace = usable.map(|usable| usable.resolved.server_namespace());
        numbers.certificates = certificates.map_or_else(Vec::new, |all| all.numbers());
        let advised: Vec<Advice> = queues
            .iter()
            .map(|facts| Advice::of(facts, &self.thresholds))
            .collect();
        let events = events(&queues, &advised, pass, now);
        let carry_over: Vec<QueueCarryOver> = queues
            .iter()
            .map(|facts| facts.carry_over(now.monotonic))
            .collect();
        self.metrics.set_fleet(subject.fleet_name(), numbers);
        let status = self.write(subject, (&old, new), events, &details).await;
        Report {
            advised,
            carry_over,
            status,
        }
    }

    /// Reports that a spec is invalid. Returns the status that is in the cluster now, unless the
    /// object in the cache has it.
    ///
    /// # Errors
    /// If the status cannot be written, or that of an unreadable object cannot be read.
    pub async fn refused(
        &self,
        subject: &Subject<'_>,
        message: &str,
        state: &FleetState,
        now: Moment,
    ) -> Result<Option<WrittenStatus>, Error> {
        let before = match &state.status {
            None if !subject.readable => self.written_before(subject).await?,
            _ => None,
        };
        let old = before
            .as_ref()
            .map_or_else(|| subject.present(state), |before| before.status.clone());
        let drafts = conditions::invalid(message);
        let new = status::refused(&old, subject.generation(), &drafts, now.wall);
        let numbers = FleetNumbers {
            conditions: fleet_metrics::conditions(&new),
            ..FleetNumbers::default()
        };
        self.metrics.set_fleet(subject.fleet_name(), numbers);
        let written = self
            .write(subject, (&old, new), Vec::new(), &BTreeMap::new())
            .await?;
        Ok(written.or(before))
    }

    /// The status of an object that cannot be read as a whole, with its version: written by an
    /// operator that could read it, or by this one before a restart.
    async fn written_before(&self, subject: &Subject<'_>) -> Result<Option<WrittenStatus>, Error> {
        let (namespace, name) = (subject.namespace(), subject.name());
        let resource = ApiResource::erase::<TaskQueueWorker>(&());
        let fleets: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let found = fleets.get_opt(name).await;
        let call = || Call::new("get", "TaskQueueWorker", namespace, name);
        let found = found.map_err(|error| Error::kube(call(), error))?;
        Ok(found.and_then(|object| {
            let status = serde_json::from_value(object.data.get("status")?.clone()).ok()?;
            let version = object.metadata.resource_version.unwrap_or_default();
            Some(WrittenStatus { version, status })
        }))
    }

    async fn write(
        &self,
        subject: &Subject<'_>,
        (old, new): (&TaskQueueWorkerStatus, TaskQueueWorkerStatus),
        mut events: Vec<EventDraft>,
        details: &BTreeMap<&'static str, Details>,
    ) -> Result<Option<WrittenStatus>, Error> {
        let written = if status::same(old, &new) {
            Ok(None)
        } else {
            events.extend(events::transitions(old, &new, details));
            self.patch(subject, new).await
        };
        events::publish(&self.recorder, &subject.reference(), events).await;
        written
    }

    async fn patch(
        &self,
        subject: &Subject<'_>,
        new: TaskQueueWorkerStatus,
    ) -> Result<Option<WrittenStatus>, Error> {
        // Guarded: the answer contains the whole object, which may be unreadable.
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
                Ok(Some(WrittenStatus {
                    version: version.unwrap_or_default(),
                    status: new,
                }))
            }
            Err(error) => {
                let call = Call::new(
                    "write the status of",
                    "TaskQueueWorker",
                    subject.namespace(),
                    subject.name(),
                );
                let error = Error::kube(call, error);
                // The fleet was deleted, or created again under the same name: nobody is left to
                // report to.
                if error.is_not_found() || error.is_conflict() {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
        }
    }
}

/// The Events of a pass, except those about conditions.
fn events(
    queues: &[QueueFacts<'_>],
    advised: &[Advice],
    pass: &Pass<'_>,
    now: Moment,
) -> Vec<EventDraft> {
    let of_queue = |(facts, advice): (&QueueFacts<'_>, &Advice)| {
        [
            events::changes(facts),
            events::task_queue_moved(facts),
            drains::events(facts, now.monotonic),
            advice.events(facts.state, pass.fleet.generation),
        ]
        .concat()
    };
    let of_queues = queues.iter().zip(advised).flat_map(of_queue);
    let removed = pass.applied.pruned.iter().map(events::removed);
    of_queues.chain(removed).collect()
}

/// What Events about conditions add to the condition, by condition type.
fn details(drafts: &[ConditionDraft], fleet: &Fleet) -> BTreeMap<&'static str, Details> {
    let deployment = |name: &String| {
        let mut queues = fleet.queues.iter();
        let queue = queues.find(|queue| queue.name == *name)?;
        Some(queue.deployment()?.to_owned())
    };
    let of = |draft: &ConditionDraft| Details {
        note: draft.note.clone(),
        deployment: draft.queue.as_ref().and_then(deployment),
    };
    drafts
        .iter()
        .map(|draft| (draft.kind.as_str(), of(draft)))
        .collect()
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
