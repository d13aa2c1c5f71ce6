//! Tests of the scaling core: tables, timelines, properties. No I/O.

mod fixtures;
mod learning;
mod properties;
mod tables;
mod timelines;
