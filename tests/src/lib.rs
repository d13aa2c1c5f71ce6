//! Empty: this package consists of its test targets, `tests/cluster` and `tests/structure`.
