//! Placeholder until the lifecycle test is written.
