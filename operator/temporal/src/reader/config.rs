//! Settings of the readers. Plain data.

use std::time::Duration;

/// How to read, for all Temporal namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadersConfig {
    /// Calls per second to one Temporal namespace, over all fleets in it. Default 20: the server
    /// allows 2,400 per namespace and frontend, and each read that the server's cache does not
    /// answer costs its matching service about five internal calls, of the 1,200 per second that
    /// one host allows by default. So 20 is under a hundredth of the first limit and a tenth of the
    /// second, costs the server at most some 25 ms of processor time per second, and still reads 33
    /// queues with all three task types every five seconds.
    pub calls_per_second: u32,
    /// Calls that may be made back to back after a pause. Default 20. At least 3.
    pub burst: u32,
    /// How long the server caches an answer: `matching.TaskQueueInfoByBuildIdTTL`. Default 5 s.
    /// Reading a queue more often returns the same numbers, so set this if the server's value
    /// differs.
    pub statistics_cache: Duration,
    /// How often the workers of a Temporal namespace are listed while any fleet in it has
    /// replicas. Default 5 s.
    pub workers_interval: Duration,
    /// The same while no fleet in it has replicas: the list then tells a worker that appears from
    /// one that was left over. Default 30 s.
    pub idle_workers_interval: Duration,
    /// Reads under way at once per Temporal namespace. Default 16.
    pub reads_in_flight: usize,
}

impl Default for ReadersConfig {
    fn default() -> Self {
        Self {
            calls_per_second: 20,
            burst: 20,
            statistics_cache: Duration::from_secs(5),
            workers_interval: Duration::from_secs(5),
            idle_workers_interval: Duration::from_secs(30),
            reads_in_flight: 16,
        }
    }
}
