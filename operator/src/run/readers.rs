//! Starts the Temporal readers as the settings configure them.

use std::sync::Arc;

use taskqueue_temporal::{Readers, ReadersConfig, TemporalClient};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::metrics::temporal::{TemporalNumbers, register_budgets};
use crate::settings::Settings;

/// Starts the readers and registers their metrics.
pub(super) fn start(
    settings: &Settings,
    clock: Clock,
    metrics: &Metrics,
) -> anyhow::Result<(Readers, Arc<TemporalNumbers>)> {
    let numbers = Arc::new(TemporalNumbers::register(metrics.registry())?);
    let config = ReadersConfig {
        calls_per_second: settings.temporal_calls_per_second,
        burst: settings.temporal_calls_per_second.max(3),
        statistics_cache: settings.temporal_statistics_cache.into(),
        ..ReadersConfig::default()
    };
    let client = Arc::new(TemporalClient::new(settings.pod_name.clone()));
    let readers = Readers::new(client, Arc::clone(&numbers) as _, config, clock.monotonic());
    let times = readers.clone();
    metrics.ask_read_at(Box::new(move |fleet, queue| times.read_at(fleet, queue)));
    let budgets = readers.clone();
    register_budgets(metrics.registry(), move || budgets.budgets())?;
    Ok((readers, numbers))
}
