//! Finds the objects of an owner in a cache without a scan of all objects. In memory; whoever fills
//! the cache keeps the index in step.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kube::Resource;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::Event;
use parking_lot::RwLock;

/// A cache with an index, for reading.
pub struct Indexed<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    index: Arc<RwLock<Index>>,
}

impl<K: Resource<DynamicType = ()> + 'static> Clone for Indexed<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            index: Arc::clone(&self.index),
        }
    }
}

/// Namespace and name of an object.
type Name = (String, String);

/// The objects of each owner, and the owner of each object.
#[derive(Debug, Default)]
struct Index {
    of: HashMap<String, BTreeSet<Name>>,
    owner: HashMap<Name, String>,
}

impl Index {
    fn put(&mut self, name: Name, owner: Option<String>) {
        if self.owner.get(&name) == owner.as_ref() {
            return;
        }
        self.remove(&name);
        if let Some(owner) = owner {
            self.of
                .entry(owner.clone())
                .or_default()
                .insert(name.clone());
            self.owner.insert(name, owner);
        }
    }

    fn remove(&mut self, name: &Name) {
        if let Some(owner) = self.owner.remove(name)
            && let Entry::Occupied(mut mine) = self.of.entry(owner)
        {
            mine.get_mut().remove(name);
            if mine.get().is_empty() {
                mine.remove();
            }
        }
    }
}

/// Fills a cache and its index.
pub(crate) struct Filling<K: Resource<DynamicType = ()> + Clone + 'static> {
    writer: reflector::store::Writer<K>,
    indexed: Indexed<K>,
    /// Returns the owner of an object.
    owner: fn(&K) -> Option<String>,
}

/// An empty indexed cache, and its filler.
pub(crate) fn indexed<K>(owner: fn(&K) -> Option<String>) -> (Indexed<K>, Filling<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (store, writer) = reflector::store();
    let indexed = Indexed {
        store,
        index: Arc::default(),
    };
    let filling = Filling {
        writer,
        indexed: indexed.clone(),
        owner,
    };
    (indexed, filling)
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Filling<K> {
    /// Takes in an event of the watch.
    pub(crate) fn apply_watcher_event(&mut self, event: &Event<K>) {
        self.writer.apply_watcher_event(event);
        let mut index = self.indexed.index.write();
        match event {
            Event::Apply(object) => index.put(name(object), (self.owner)(object)),
            Event::Delete(object) => index.remove(&name(object)),
            // A relist takes effect once it is complete.
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => {
                *index = Index::default();
                for object in self.indexed.store.state() {
                    index.put(name(object.as_ref()), (self.owner)(&object));
                }
            }
        }
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Indexed<K> {
    /// The object of that name.
    pub fn get(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        self.store.get(reference)
    }

    /// The objects of an owner, sorted by name.
    pub fn of(&self, owner: &str) -> Vec<Arc<K>> {
        let index = self.index.read();
        let names = index.of.get(owner).into_iter().flatten();
        names
            .filter_map(|(namespace, name)| self.store.get(&ObjectRef::new(name).within(namespace)))
            .collect()
    }
}

fn name<K: Resource>(object: &K) -> Name {
    let metadata = object.meta();
    (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::caches::worker_of;

    fn pod(name: &str, worker: Option<&str>) -> Pod {
        let labels = worker.map(|worker| json!({"taskqueue.dev/worker": worker}));
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
        }))
        .unwrap()
    }

    fn names(pods: &Indexed<Pod>, worker: &str) -> Vec<String> {
        let found = pods.of(&format!("shop/{worker}"));
        let name = |pod: Arc<Pod>| pod.metadata.name.clone().unwrap();
        found.into_iter().map(name).collect()
    }

    #[test]
    fn the_index_of_an_owner_has_exactly_its_cached_objects() {
        let (pods, mut filling) = indexed(worker_of);
        let mut apply = |event| filling.apply_watcher_event(&event);
        apply(Event::Apply(pod("b", Some("orders"))));
        apply(Event::Apply(pod("a", Some("orders"))));
        apply(Event::Apply(pod("c", Some("mails"))));
        assert_eq!(names(&pods, "orders"), ["a", "b"]);
        apply(Event::Apply(pod("a", Some("mails"))));
        apply(Event::Apply(pod("b", None)));
        assert_eq!(names(&pods, "orders"), Vec::<String>::new());
        assert_eq!(names(&pods, "mails"), ["a", "c"]);
        apply(Event::Delete(pod("c", Some("mails"))));
        assert_eq!(names(&pods, "mails"), ["a"]);
        // A relist, which takes effect once it is complete.
        apply(Event::Init);
        apply(Event::InitApply(pod("d", Some("orders"))));
        assert_eq!(names(&pods, "mails"), ["a"]);
        apply(Event::InitDone);
        assert_eq!(names(&pods, "mails"), Vec::<String>::new());
        assert_eq!(names(&pods, "orders"), ["d"]);
    }
}
