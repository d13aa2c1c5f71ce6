//! Two leases at once, over an API server that keeps them.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::testing::{api, failure};

/// A lease that `holder` renewed last an hour ago, for ten seconds.
fn lease(name: &str, holder: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "op", "resourceVersion": "1"},
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 10, "leaseTransitions": 1,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_while_the_next_one_is_awaited() {
    let leases = Mutex::new(BTreeMap::from([
        ("own".to_owned(), lease("own", "")),
        ("former".to_owned(), lease("former", "version-0.1.0")),
    ]));
    let (client, log) = api(move |request| {
        let (_, name) = request.line.rsplit_once('/').unwrap();
        let name = name.split('?').next().unwrap().to_owned();
        let mut leases = leases.lock();
        if request.line.starts_with("PUT") {
            leases.insert(name, request.body.clone());
            (200, request.body.clone())
        } else {
            leases.get(&name).map_or_else(
                || (404, failure(404, "NotFound", "no such lease")),
                |found| (200, found.clone()),
            )
        }
    });
    let of = |name| LeaderLease::new(client.clone(), "op", name, "me".to_owned());
    let mut leases = [of("own"), of("former").legacy()];
    // The other holder is gone, so its lease expires after ten seconds. Ours would do so sooner.
    assert!(acquire(&mut leases, &CancellationToken::new()).await);
    let own = |line: &&String| line.starts_with("PUT") && line.contains("/own");
    let renewals = log.lines().iter().filter(own).count();
    assert!(renewals >= 4, "renewed {renewals} times in ten seconds");
}
