//! Decides when the process is ready.

use futures::future;
use tracing::info;

use crate::caches::{Caches, WatchAccess};
use crate::http::{Health, Phase};
use crate::metrics::Metrics;

/// Reports readiness once at least one scope can be watched, and the caches of all scopes that can
/// be watched are filled.
pub(super) async fn wait(everywhere: &[Caches], metrics: &Metrics, health: &Health) {
    let mut progress: Vec<_> = everywhere.iter().map(Caches::progress).collect();
    loop {
        let (mut missing, mut denied, mut filled) = (Vec::new(), Vec::new(), false);
        for one in &mut progress {
            let one = one.borrow_and_update();
            let kinds = one.missing();
            match &one.access {
                _ if kinds.is_empty() => filled = true,
                WatchAccess::Denied(why) => denied.push(why.clone()),
                WatchAccess::Unknown(why) => missing.push(why.clone()),
                WatchAccess::Granted => missing.push(format!(
                    "waiting for the first list of {}; the log says why if it fails",
                    kinds.join(", ")
                )),
            }
        }
        let Some(why) = missing.first().or(denied.first().filter(|_| !filled)) else {
            break;
        };
        health.set(Phase::Waiting(why.clone()));
        let changes = progress.iter_mut().map(|one| Box::pin(one.changed()));
        future::select_all(changes).await.0.unwrap_or_default();
    }
    metrics.set_caches_synced(true);
    health.set(Phase::Running);
    info!("the watch caches are filled");
}
