//! Measurements on real pods that take longer than a test may: the soak (fleets scale up and down
//! and no activity is interrupted), the latency (from the first task on an idle queue to the
//! replicas, the poll and the activity) and the footprint (the cost of an operator with idle
//! fleets).
//!
//! Pure: `percentiles`, `history`, `soak::waves`. I/O: `scenario` writes to the cluster,
//! `kubectl_watch` watches it, `hint_client` sends hints to the operator, `soak` and `latency`
//! combine the parts. Every reported value is read back from Temporal's histories or from the API
//! server.

mod error;
pub mod footprint;
pub mod hint_client;
mod history;
mod kubectl_watch;
pub mod latency;
mod percentiles;
mod prepare;
mod scenario;
pub mod soak;

pub use error::Error;
