//! Parses single samples of Prometheus' text format, of which OpenMetrics samples are a subset.
//! Pure.
//!
//! Why not a crate: prometheus-parse 0.2 parses a whole exposition into owned values, though its
//! callers need a few lines of many, and depends on chrono and regex. openmetrics-parser has a
//! licence (LGPL) that this workspace does not allow.

/// One sample: `name{label="value",...} value`. A timestamp, and in OpenMetrics an exemplar, may
/// follow the value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// The name of the metric.
    pub name: &'a str,
    /// The value.
    pub value: f64,
    labels: Vec<(&'a str, String)>,
}

impl<'a> Sample<'a> {
    /// Parses the sample in a line; `None` if there is none.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (name, rest) = split_name(line)?;
        let rest = rest.trim_start();
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            name,
            value,
            labels,
        })
    }

    /// The value of a label, if the sample has it.
    pub fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter().rev();
        let (_, value) = labels.find(|(label, _)| *label == name)?;
        Some(value)
    }
}

/// The sum of a metric in a text, over all its labels.
pub fn sum(text: &str, name: &str) -> f64 {
    let samples = text.lines().filter_map(Sample::parse);
    let ours = samples.filter(|sample| sample.name == name);
    ours.map(|sample| sample.value).sum()
}

/// The name of the metric that a line is about; the rest of the line may be anything.
pub fn name(line: &str) -> Option<&str> {
    split_name(line).map(|(name, _)| name)
}

fn split_name(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .unwrap_or(line.len());
    (end > 0).then(|| line.split_at(end))
}

/// Parses the labels. Also returns what follows their closing brace.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, tail) = rest.split_once('=')?;
        let (value, tail) = quoted(tail.trim_start())?;
        labels.push((name.trim(), value));
        let tail = tail.trim_start();
        rest = match tail.strip_prefix(',') {
            Some(next) => next,
            None if tail.starts_with('}') => tail,
            None => return None,
        };
    }
}

/// Parses a quoted value and its escapes. Also returns what follows its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_parsed_with_escapes_and_any_blanks() {
        let sample = Sample::parse(r#" a:b_1 { x = "1\"\\\n" , y="}," , } 2.5 1700000000 # {} 1"#);
        let sample = sample.unwrap();
        assert_eq!((sample.name, sample.value), ("a:b_1", 2.5));
        assert_eq!(sample.label("x"), Some("1\"\\\n"));
        assert_eq!(sample.label("y"), Some("},"));
        assert_eq!(sample.label("z"), None);
        assert_eq!(Sample::parse("up 1").unwrap().name, "up");
    }

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_mixed_with_longer_names() {
        let text =
            "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3.5\na_total_more 7\n";
        assert!((sum(text, "a_total") - 5.5).abs() < f64::EPSILON);
        assert!((sum("a_total 4\n", "a_total") - 4.0).abs() < f64::EPSILON);
        assert!(sum("", "a_total").abs() < f64::EPSILON);
    }

    #[test]
    fn text_that_is_not_a_sample_is_none() {
        for line in [
            "",
            "{x=\"1\"} 1",
            "a",
            "a b",
            "a{x=\"1\" 1",
            "a{x=1} 1",
            "a{x=\"1\"y=\"2\"} 1",
            "<html>",
        ] {
            assert_eq!(Sample::parse(line), None, "{line}");
        }
    }
}
