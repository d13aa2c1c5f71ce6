//! SDK workers that stop without losing a task and run for long without growing: what the Rust SDK
//! (temporalio-sdk 1.1.1, temporalio-sdk-core 0.10.1) does not do by itself. Each part goes when the
//! SDK behaves otherwise; look at the names below when it is upgraded.
//!
//! | the SDK | so here | in |
//! |---|---|---|
//! | keeps about 390 bytes of every activity it ever ran (`ActivityHalf::task_tokens_to_cancels`) | the worker of the activities is replaced after a number of them | `generation` |
//! | leaves out the last step of `finalize_shutdown` at the end of `Worker::run`: the worker stays registered with its connection | that step is done here | `generation` |
//! | cancels activities at the end of `graceful_shutdown_period`, counted from the stop of the worker | an interceptor ends them when the grace period of the process is over | `generation` |
//! | takes in no workflow task once it is told to stop (`WFStream::shutdown_done`), and drops its polls | the polls end before it is told | `polls` |
//! | ends its stream of activities at the first empty answer after that (`TaskPollerStream`) | polls that are over are answered with an error | `polls` |
//! | refuses two workers for one queue on one connection | each worker has a connection of its own, in front of a shared one | `polls` |
//! | sends a request again that its connection never took, but knows it only by the cause of the error, which that connection in front loses | the error gets a code on which the SDK sends again | `unsent` |
//!
//! `pace` is about the server: Temporal does not say whether a waiting poll is about to get a task,
//! unless `frontend.enableCancelWorkerPollsOnShutdown` is on, which it is not by default.

pub(in crate::run) mod generation;
mod pace;
mod polls;
mod unsent;
