//! What is shown on real pods and takes longer than a test may: the soak (fleets go up and down and
//! no activity is interrupted), the latency (from the first task on an idle queue to the replicas,
//! the poll and the activity) and the footprint (what an operator with idle fleets costs).
//!
//! Pure: `percentiles`, `history`, `soak::waves`. I/O: `scenario` writes to the cluster,
//! `kubectl_watch` follows it, `hint_client` sends hints to the operator, `soak` and `latency` put
//! the parts together. Every figure is read back from Temporal's histories or from what the API
//! server said; none is what was intended.

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
