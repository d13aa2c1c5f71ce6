//! The part of the [`Writer`] that writes and deletes PodDisruptionBudgets. They are not watched,
//! so each is read before it is changed.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use taskqueue_api::FleetKey;
use taskqueue_api::well_known::MANAGER;
use taskqueue_kubernetes::kube_error::Call;

use super::ownership::ours;
use super::writer::Writer;
use crate::error::Error;
use crate::owned::owned_by;

const KIND: &str = "PodDisruptionBudget";

impl Writer {
    /// Applies a budget. Fails without a write if one of that name belongs to somebody else.
    pub(super) async fn apply_budget(
        &self,
        fleet: &FleetKey,
        budget: &PodDisruptionBudget,
    ) -> Result<(), Error> {
        let name = &budget.metadata.name.clone().unwrap_or_default();
        let found = self.found_budget(fleet, name).await?;
        let mut budget = budget.clone();
        if let Some(found) = found {
            // Write to this very object, not to another one of its name.
            budget.metadata.uid = ours(found, &budget, fleet)?.metadata.uid;
        }
        self.metrics.write("apply", KIND);
        let params = PatchParams::apply(MANAGER).force();
        let written = self
            .budgets(fleet)
            .patch(name, &params, &Patch::Apply(&budget))
            .await;
        written
            .map(drop)
            .map_err(|error| Error::kube(call("apply", fleet, name), error))
    }

    /// Deletes the budget of that name if it exists and is ours.
    pub(super) async fn delete_budget(&self, fleet: &FleetKey, name: &str) -> Result<(), Error> {
        let found = self.found_budget(fleet, name).await?;
        let Some(found) = found.filter(|found| owned_by(&found.metadata, fleet)) else {
            return Ok(());
        };
        let (call, params) = (call("delete", fleet, name), DeleteParams::default());
        self.delete(&self.budgets(fleet), call, found.metadata.uid, params)
            .await
    }

    async fn found_budget(
        &self,
        fleet: &FleetKey,
        name: &str,
    ) -> Result<Option<PodDisruptionBudget>, Error> {
        let found = self.budgets(fleet).get_opt(name).await;
        found.map_err(|error| Error::kube(call("get", fleet, name), error))
    }

    fn budgets(&self, fleet: &FleetKey) -> Api<PodDisruptionBudget> {
        Api::namespaced(self.client.clone(), &fleet.namespace)
    }
}

fn call(verb: &'static str, fleet: &FleetKey, name: &str) -> Call {
    Call::new(verb, KIND, &fleet.namespace, name)
}
