//! What is proven on real pods, and takes longer than a test may: the soak (fleets go up and down and no activity is
//! interrupted) and the latency (from the first task on an idle queue to the replicas, the poll and the activity).
//! This file prepares the sandbox for both.
//!
//! Pure: `figures`, `history`, `waves`. I/O: `ground` writes to the cluster, `watch` follows it, `hints` knocks at the
//! operator, `soak` and `latency` put the parts together. Every figure is read back from Temporal's histories or from
//! what the API server said; none is what was intended.

mod error;
mod figures;
mod ground;
pub mod hints;
mod history;
pub mod latency;
pub mod soak;
mod watch;
mod waves;

pub use error::Error;
use error::Result;
use jiff::{Timestamp, tz::TimeZone};

use crate::{image::Image, paths::Name, progress::Progress, sandbox::Sandbox};

/// A sandbox that is up, with the images loaded and the operator installed by its chart with the chart's own values.
fn prepare(name: &Name, progress: Progress) -> Result<Sandbox> {
    let sandbox = Sandbox::up(name, progress)?;
    let loaded = sandbox.images(&Image::ALL, None, progress)?;
    sandbox.check_loaded(&loaded)?;
    progress.say("installing the operator with its chart");
    sandbox.install_operator(&[])?;
    Ok(sandbox)
}

/// The run's id: its time. Every order carries it, so that runs in one sandbox never meet.
fn run_id() -> String {
    Timestamp::now()
        .to_zoned(TimeZone::UTC)
        .strftime("%Y%m%d-%H%M%S")
        .to_string()
}
