//! Scaling against traces: the tables as reviewed snapshots, and the bar that they must clear.
//! Every decision also passes `taskqueue_scaling::check::violations`, which `decide` asserts.

mod bar;
mod traces;
