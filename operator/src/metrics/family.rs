//! Writes metric families in Prometheus' text format from plain numbers at each scrape, so that
//! they always show the current state: a series disappears together with its subject. Pure.
//!
//! The `prometheus` crate holds one protocol object per series, with two strings per label, and
//! sorts them before it writes them. A thousand fleets have tens of thousands of series, so these
//! are written straight into text instead.

use std::fmt::Write as _;

use taskqueue_exposition::{Kind, Spec};

/// The labels that all series of a subject have in common, in the order of the table. Rendered
/// once for all of them.
pub(super) struct Subject {
    text: String,
    labels: usize,
}

impl Subject {
    pub(super) fn new(labels: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (name, value) in labels {
            if !text.is_empty() {
                text.push(',');
            }
            push_label(&mut text, name, value);
        }
        Self {
            text,
            labels: labels.len(),
        }
    }
}

/// A metric family under construction.
pub(super) struct Family {
    spec: Spec,
    series: String,
}

impl Family {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            spec,
            series: String::new(),
        }
    }

    /// Adds one series of a subject. The values of its further labels are in the order of the
    /// table.
    pub(super) fn add(&mut self, subject: &Subject, further: &[&str], value: f64) {
        let names = self.spec.labels.get(subject.labels..).unwrap_or_default();
        debug_assert_eq!(names.len(), further.len(), "{}", self.spec.name);
        self.series.push_str(self.spec.name);
        if self.spec.labels.is_empty() {
            let written = writeln!(self.series, " {value}");
            debug_assert!(written.is_ok(), "a String takes all that is written");
            return;
        }
        self.series.push('{');
        self.series.push_str(&subject.text);
        for (name, value) in names.iter().zip(further) {
            self.series.push(',');
            push_label(&mut self.series, name, value);
        }
        let written = writeln!(self.series, "}} {value}");
        debug_assert!(written.is_ok(), "a String takes all that is written");
    }

    /// Appends the family, if it has any series.
    pub(super) fn write(&self, text: &mut String) {
        if self.series.is_empty() {
            return;
        }
        let Spec { name, help, .. } = self.spec;
        let kind = match self.spec.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        for part in [
            "# HELP ",
            name,
            " ",
            help,
            "\n# TYPE ",
            name,
            " ",
            kind,
            "\n",
        ] {
            text.push_str(part);
        }
        text.push_str(&self.series);
    }
}

/// Appends `name="value"`, with the three escapes of the text format.
fn push_label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    if value.contains(['\\', '"', '\n']) {
        let escaped = value.replace('\\', r"\\").replace('"', r#"\""#);
        text.push_str(&escaped.replace('\n', r"\n"));
    } else {
        text.push_str(value);
    }
    text.push('"');
}

/// Converts a whole number to a Prometheus value. Precision is lost above 2^53, which no count here
/// reaches.
#[expect(clippy::cast_precision_loss, reason = "metrics are floats by format")]
pub(super) fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use taskqueue_exposition::Sample;

    use super::*;

    const SPEC: Spec = Spec {
        name: "things",
        kind: Kind::Gauge,
        labels: &["namespace", "name", "pod"],
        help: "Things.",
    };

    #[test]
    fn a_family_is_its_header_and_its_series_with_escaped_labels() {
        let mut family = Family::new(SPEC);
        let subject = Subject::new(&[("namespace", "shop"), ("name", "a\\b\"c\nd")]);
        family.add(&subject, &["orders-1"], 1.5);
        family.add(&subject, &[""], 2.0);
        let mut text = String::new();
        family.write(&mut text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "# HELP things Things.",
                "# TYPE things gauge",
                r#"things{namespace="shop",name="a\\b\"c\nd",pod="orders-1"} 1.5"#,
                r#"things{namespace="shop",name="a\\b\"c\nd",pod=""} 2"#,
            ]
        );
        let sample = Sample::parse(lines[2]).unwrap();
        assert_eq!(sample.label("name"), Some("a\\b\"c\nd"));
    }

    #[test]
    fn a_family_without_labels_has_no_braces() {
        let mut family = Family::new(Spec {
            labels: &[],
            ..SPEC
        });
        family.add(&Subject::new(&[]), &[], 0.5);
        let mut text = String::new();
        family.write(&mut text);
        assert_eq!(
            text,
            "# HELP things Things.\n# TYPE things gauge\nthings 0.5\n"
        );
    }

    #[test]
    fn a_family_without_series_is_absent() {
        let mut text = String::new();
        Family::new(SPEC).write(&mut text);
        assert_eq!(text, "");
    }
}
