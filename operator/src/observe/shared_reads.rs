//! Values that are read once per key, for everyone who needs them at that moment. Keeps them; does
//! no I/O of its own, and leaves to its users how long a value is used.
//!
//! Caches such as `moka` expire their entries by a clock of their own. Here the time is passed in,
//! how long a value is used depends on the value, and one that cannot be read again may stay.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Values by key.
pub struct SharedReads<K, V> {
    slots: Mutex<HashMap<K, Arc<AsyncMutex<Option<V>>>>>,
}

impl<K, V> Default for SharedReads<K, V> {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash, V> SharedReads<K, V> {
    /// Locks the value of a key; `None` if it has not been read. Whoever holds the lock may read it
    /// again, and the others wait for the result.
    pub async fn lock(&self, key: K) -> OwnedMutexGuard<Option<V>> {
        let slot = Arc::clone(self.slots.lock().entry(key).or_default());
        slot.lock_owned().await
    }

    /// What `of` returns for the value of a key; `None` if it has not been read, or is being read
    /// now.
    pub fn peek<T>(&self, key: &K, of: impl FnOnce(&V) -> T) -> Option<T> {
        let slot = Arc::clone(self.slots.lock().get(key)?);
        let value = slot.try_lock().ok()?;
        value.as_ref().map(of)
    }

    /// Forgets the keys of which `is` says so.
    pub fn forget(&self, is: impl Fn(&K) -> bool) {
        self.slots.lock().retain(|key, _| !is(key));
    }

    /// Forgets the values that are no longer used, according to `is_used`. One that is being read
    /// now stays.
    pub fn prune(&self, is_used: impl Fn(&V) -> bool) {
        self.slots.lock().retain(|_, slot| match slot.try_lock() {
            Ok(value) => value.as_ref().is_some_and(&is_used),
            Err(_) => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_value_is_read_once_for_all_who_ask_meanwhile() {
        let shared = SharedReads::<&str, usize>::default();
        let read = |number: usize| {
            let shared = &shared;
            async move {
                let mut slot = shared.lock("key").await;
                tokio::task::yield_now().await;
                *slot.get_or_insert(number)
            }
        };
        assert_eq!(join_all((0..4).map(read)).await, [0; 4]);
        assert_eq!(*shared.lock("other").await, None);
        assert_eq!(shared.peek(&"key", |value| *value), Some(0));
    }

    #[tokio::test]
    async fn a_value_that_is_being_read_is_not_shown_and_stays() {
        let shared = SharedReads::<&str, usize>::default();
        let reading = shared.lock("key").await;
        assert_eq!(shared.peek(&"key", |value| *value), None);
        shared.prune(|_| false);
        drop(reading);
        *shared.lock("key").await = Some(7);
        *shared.lock("unused").await = Some(1);
        shared.prune(|value| *value > 1);
        assert_eq!(shared.peek(&"key", |value| *value), Some(7));
        assert_eq!(shared.peek(&"unused", |value| *value), None);
        shared.forget(|key| *key == "key");
        assert_eq!(shared.peek(&"key", |value| *value), None);
    }
}
