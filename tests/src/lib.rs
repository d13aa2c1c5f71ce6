//! Holds nothing: this package is its test targets. See `tests/cluster` and `tests/structure`.
