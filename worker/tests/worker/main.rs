//! The worker's tests: the real binary against a real Temporal server, a real PostgreSQL, the
//! gateway stand-in and an SMTP server. No test is skipped: if a program is missing, the test fails
//! and says how to get it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on panics, in its functions as well"
)]

mod cancellations;
mod clients;
mod credentials;
mod disguises;
mod drains;
mod history;
mod hold;
mod limits;
mod load;
mod mail_faults;
mod mailer;
mod notifications;
mod orders;
mod payment_faults;
mod pending;
mod plain;
mod process;
mod properties;
mod record;
mod reference;
mod replay;
mod resets;
mod routing;
mod search;
mod secrets;
mod silence;
mod smtp;
mod storage;
mod support;
mod takeover;
mod tls;
