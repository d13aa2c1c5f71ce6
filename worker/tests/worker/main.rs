//! The worker's tests: the real binary against a real Temporal server, a real PostgreSQL, the
//! gateway stand-in and an SMTP server. Nothing is skipped: what is missing fails and says how to
//! get it.

mod notifications;
mod orders;
mod process;
mod properties;
mod replay;
mod smtp;
mod storage;
mod support;
