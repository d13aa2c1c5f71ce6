//! Decides who owns an existing object whose name the operator needs. Pure.
//!
//! The fleet owns its objects, and may adopt those that nobody owns any more because an earlier
//! fleet of the same name was deleted without its dependents (`kubectl delete --cascade=orphan`): a
//! fleet that is created again takes over its running workers. Nothing else is ever adopted.

use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use taskqueue_api::FleetKey;
use taskqueue_api::well_known::{QUEUE_LABEL, WORKER_LABEL};

use crate::error::Error;
use crate::owned::owned_by;

/// An object that the operator creates for a set of pods.
pub(super) trait Made: Metadata<Ty = ObjectMeta> {
    /// The selector of its pods.
    fn selector(&self) -> Option<&LabelSelector>;
}

impl Made for Deployment {
    fn selector(&self) -> Option<&LabelSelector> {
        Some(&self.spec.as_ref()?.selector)
    }
}

impl Made for PodDisruptionBudget {
    fn selector(&self) -> Option<&LabelSelector> {
        self.spec.as_ref()?.selector.as_ref()
    }
}

/// Returns the object that was found under a name, if the fleet may write it.
///
/// # Errors
/// [`Error::Stale`] if the name is about to be free, [`Error::NameConflict`] if somebody else uses
/// it.
pub(super) fn ours<K: Made>(found: K, wanted: &K, fleet: &FleetKey) -> Result<K, Error> {
    let metadata = found.metadata();
    let namespace = fleet.namespace.clone();
    let name = wanted.metadata().name.clone().unwrap_or_default();
    if metadata.deletion_timestamp.is_some() || of_an_earlier_fleet(metadata, fleet) {
        Err(Error::Stale { namespace, name })
    } else if owned_by(metadata, fleet) || left_behind(&found, wanted) {
        Ok(found)
    } else {
        Err(Error::NameConflict {
            kind: K::KIND,
            namespace,
            name,
        })
    }
}

/// Whether it belonged to a deleted fleet of the same name: it is about to be garbage-collected or
/// orphaned.
fn of_an_earlier_fleet(found: &ObjectMeta, fleet: &FleetKey) -> bool {
    let owners = found.owner_references.iter().flatten();
    owners.into_iter().any(|owner| {
        owner.kind == "TaskQueueWorker" && owner.name == fleet.name && owner.uid != fleet.uid
    })
}

/// Whether nobody owns it, and it is for the same pods and the same queue of a fleet of the same
/// name.
fn left_behind<K: Made>(found: &K, wanted: &K) -> bool {
    let labels = |object: &K| {
        let labels = object.metadata().labels.as_ref()?;
        let value = |name| labels.get(name).cloned();
        Some((value(WORKER_LABEL)?, value(QUEUE_LABEL)?))
    };
    let owned = found.metadata().owner_references.iter().flatten().next();
    owned.is_none()
        && labels(wanted).is_some_and(|wanted| labels(found) == Some(wanted))
        && found.selector() == wanted.selector()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::testing::{existing, simple};

    type Change = fn(&mut Deployment);

    fn owner(deployment: &mut Deployment) -> &mut OwnerReference {
        &mut deployment.metadata.owner_references.as_mut().unwrap()[0]
    }

    fn left(deployment: &mut Deployment) {
        deployment.metadata.owner_references = None;
    }

    #[test]
    fn only_objects_of_the_fleet_or_of_an_earlier_one_of_its_name_are_ours() {
        let table: [(&str, Change, Result<(), &str>); 9] = [
            ("as it was made", |_| {}, Ok(())),
            ("left behind", left, Ok(())),
            (
                "left behind, with an empty list of owners",
                |d| d.metadata.owner_references = Some(Vec::new()),
                Ok(()),
            ),
            (
                "of an earlier fleet",
                |d| owner(d).uid = "an-earlier-uid".to_owned(),
                Err("Conflict"),
            ),
            (
                "being deleted",
                |d| d.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH)),
                Err("Conflict"),
            ),
            (
                "of another owner",
                |d| {
                    owner(d).uid = "another-uid".to_owned();
                    owner(d).kind = "Application".to_owned();
                },
                Err("NameConflict"),
            ),
            (
                "without our labels",
                |d| {
                    left(d);
                    d.metadata.labels = None;
                },
                Err("NameConflict"),
            ),
            (
                "of another queue",
                |d| {
                    left(d);
                    let labels = d.metadata.labels.as_mut().unwrap();
                    labels.insert(QUEUE_LABEL.to_owned(), "b".to_owned());
                },
                Err("NameConflict"),
            ),
            (
                "with other pods",
                |d| {
                    left(d);
                    d.spec.as_mut().unwrap().selector = LabelSelector::default();
                },
                Err("NameConflict"),
            ),
        ];
        let fleet = simple();
        let wanted = existing(&fleet, 1, "1");
        for (what, change, expected) in table {
            let mut found = wanted.clone();
            change(&mut found);
            let found = ours(found, &wanted, &fleet.key);
            assert_eq!(
                found.map(drop).map_err(|e| e.reason().as_str()),
                expected,
                "{what}"
            );
        }
    }
}
