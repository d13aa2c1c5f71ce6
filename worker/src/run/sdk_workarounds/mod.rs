//! Lets SDK workers stop without losing a task, and run for long without growing. Works around the
//! behaviour of the Rust SDK (temporalio-sdk 1.1.1, temporalio-sdk-core 0.10.1). Each part can go
//! once the SDK changes; check the names below at every upgrade.
//!
//! - The SDK keeps about 390 bytes of every activity it ever ran
//!   (`ActivityHalf::task_tokens_to_cancels`). `generation` replaces the activity worker after a
//!   number of activities.
//! - `Worker::run` leaves out the last step of `finalize_shutdown`, so the worker stays registered
//!   with its connection. `generation` does that step.
//! - The SDK cancels activities at the end of `graceful_shutdown_period`, counted from the stop of
//!   the worker. Instead, an interceptor in `generation` ends them when the grace period of the
//!   process is over.
//! - After its stop, the worker accepts no workflow task (`WFStream::shutdown_done`) and drops its
//!   polls. `polls` ends the polls before the worker is stopped.
//! - After its stop, the worker ends its stream of activities at the first empty answer
//!   (`TaskPollerStream`). `polls` answers the remaining polls with an error.
//! - The SDK refuses two workers for one queue on one connection. `polls` gives each worker its own
//!   connection in front of a shared one.
//! - The SDK resends a request that its connection never took, but recognizes it only by the cause
//!   of the error, which gets lost in the connection in front. `unsent` recognizes it there, and
//!   `polls` returns a status code that makes the SDK resend.
//!
//! `pace` is about the server: Temporal does not say whether a waiting poll is about to get a task,
//! unless `frontend.enableCancelWorkerPollsOnShutdown` is on, which is off by default.

pub(in crate::run) mod generation;
mod pace;
mod polls;
mod unsent;
