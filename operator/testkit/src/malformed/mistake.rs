//! The parts of a mistake.

/// A mistake: its name, the fields that make it (JSON pointer and value; null removes the field),
/// and texts that the refusal must contain.
pub(super) type Mistake = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);
