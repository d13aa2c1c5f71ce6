//! What a mistake is made of.

/// A mistake, the fields that make it (JSON pointer and value; null removes the field), and the
/// refusal.
pub(super) type Mistake = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);
