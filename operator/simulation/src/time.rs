//! The unit of virtual time.

/// Milliseconds of virtual time.
pub type Millis = u64;
