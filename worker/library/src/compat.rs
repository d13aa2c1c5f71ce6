//! Lets SDK workers stop without losing a task, and run for long without growing. Works around the
//! behavior of the Rust SDK (temporalio-sdk 1.1.1, temporalio-sdk-core 0.10.1). Each module names
//! the cause in the SDK and can go once the SDK changes; check those names at every upgrade.
//!
//! - The SDK keeps some memory of every activity, and does not unregister a worker that has ended:
//!   [`generation`].
//! - After its stop, a worker accepts no workflow task, drops its polls, and ends its stream of
//!   activities at the first empty answer: [`polls`].
//! - It leaves a workflow task that fails again unanswered: [`open_tasks`].
//! - The SDK refuses two workers for one queue on one connection: [`proxy`].
//! - The SDK resends a request that its connection never took, but recognizes it only by the cause
//!   of the error, which gets lost in the proxy: [`unsent`].
//! - The SDK gives no access to the channel of a connection, which the proxy needs for requests
//!   that it does not read: [`opaque`].
//! - The SDK reports free slots of a worker that takes no more tasks: [`heartbeat`], [`gauges`].
//! - The SDK cancels activities at the end of `graceful_shutdown_period`, counted from the stop of
//!   the worker, also if the worker is merely replaced. Instead, `interceptor` ends them when the
//!   grace period of the process is over.
//!
//! `pace` is about the server: Temporal does not say whether a waiting poll is about to get a task,
//! unless `frontend.enableCancelWorkerPollsOnShutdown` is on, which is off by default.

mod gauges;
pub(crate) mod generation;
mod heartbeat;
mod opaque;
mod open_tasks;
mod pace;
mod polls;
mod proxy;
mod unsent;
