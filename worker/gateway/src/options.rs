//! The options of the stand-in. Pure.

use std::path::PathBuf;
use std::time::Duration;

use crate::faults::FaultOptions;

/// Options of the stand-in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatewayOptions {
    /// Which requests fail and how.
    pub faults: FaultOptions,
    /// A file to keep the ledger in; memory only if absent.
    pub ledger: Option<PathBuf>,
    /// How many keys to keep in memory. Beyond this number the oldest decided keys are forgotten; a
    /// forgotten key is charged again if it is sent again. `None` keeps all keys.
    pub keep: Option<usize>,
    /// Delay added to every answer of `POST /charge`.
    pub delay: Duration,
}
