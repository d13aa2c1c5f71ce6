//! SVG primitives: rectangles, formatted numbers, escaped text. Pure.

use std::fmt::Write as _;

/// Pixels of one character of small text, about.
pub(super) const CHARACTER: f64 = 5.1;
/// Pixels between two lines of small text.
pub(super) const LINE: f64 = 12.0;

/// A rectangle of the picture.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A value with Grafana's unit.
pub(super) fn number(value: f64, unit: &str) -> String {
    match unit {
        "s" if value > 0.0 && value < 1.0 => format!("{} ms", short(value * 1000.0)),
        "s" => format!("{} s", short(value)),
        "ops" => format!("{}/s", short(value)),
        _ => short(value),
    }
}

/// At most three digits behind the point, and none that say nothing.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// To a tenth of a pixel: the file stays small.
pub(super) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of a picture"
)]
pub(super) fn whole(value: f64) -> usize {
    value.max(0.0) as usize
}

#[expect(clippy::cast_precision_loss, reason = "small numbers of a picture")]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
pub(super) fn second(value: f64) -> i64 {
    value.round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
pub(super) fn signed(value: i64) -> f64 {
    value as f64
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Writing to a String does not fail.
pub(super) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_unit_and_no_insignificant_digit() {
        assert_eq!(
            [
                number(0.0, "s"),
                number(0.25, "s"),
                number(90.0, "s"),
                number(1.5, "ops"),
                number(7.0, "short")
            ],
            ["0 s", "250 ms", "90 s", "1.5/s", "7"]
        );
    }
}
