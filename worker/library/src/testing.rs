//! For tests of a worker: a Temporal dev server, the worker's process, connections that fall
//! silent, and TLS in front of Temporal. Starts programs and opens sockets.
//!
//! Enable it for tests only:
//!
//! ```toml
//! [dev-dependencies]
//! taskqueue-worker = { version = "0.1.0", features = ["testing"] }
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on panics"
)]

mod authority;
mod line;
mod process;
mod proxy;
mod servers;
mod wait;

pub use authority::{Authority, SERVER_NAME};
pub use line::Line;
pub use process::WorkerProcess;
pub use proxy::Proxy;
pub use servers::{Server, folder, free_port, temporal, temporal_command};
pub use wait::{DEADLINE, eventually};
