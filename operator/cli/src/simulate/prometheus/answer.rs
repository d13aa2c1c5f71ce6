//! The answers of Prometheus' HTTP API. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use taskqueue_simulation::rebuild::Sample;

use super::failure::{Cause, excerpt};

/// The labels of a series, its name among them as `__name__`.
pub(in crate::simulate) type Labels = BTreeMap<String, String>;

/// What a query returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulate) enum Kind {
    /// One value per series.
    Vector,
    /// The samples of a range per series.
    Matrix,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::simulate) struct Labelled {
    pub(in crate::simulate) labels: Labels,
    pub(in crate::simulate) samples: Vec<Sample>,
}

/// An answer to a query.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::simulate) struct Answer {
    pub(in crate::simulate) series: Vec<Labelled>,
    pub(in crate::simulate) warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Body {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default, rename = "errorType")]
    error_type: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Value,
}

#[derive(Deserialize)]
struct Entry {
    metric: Labels,
    #[serde(default)]
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// Parses an answer.
pub(super) fn parse(body: &[u8], kind: Kind) -> Result<Answer, Cause> {
    let other = || Cause::NotPrometheus {
        excerpt: excerpt(body),
    };
    let parsed: Body = serde_json::from_slice(body).map_err(|_| other())?;
    if parsed.status == "error" {
        return Err(Cause::Refused {
            kind: parsed.error_type.unwrap_or_default(),
            message: parsed.error.unwrap_or_default(),
        });
    }
    let data = parsed.data.ok_or_else(other)?;
    if data.kind != kind.as_str() {
        return Err(Cause::WrongType {
            found: data.kind,
            expected: kind.as_str(),
        });
    }
    let entries: Vec<Entry> = serde_json::from_value(data.result).map_err(|_| other())?;
    let series = entries.into_iter().map(|entry| {
        let samples = entry.value.into_iter().chain(entry.values);
        let samples = samples.map(|(time, value)| sample(time, &value));
        Some(Labelled {
            labels: entry.metric,
            samples: samples.collect::<Option<_>>()?,
        })
    });
    Ok(Answer {
        series: series.collect::<Option<_>>().ok_or_else(other)?,
        warnings: parsed.warnings,
    })
}

/// A value at a time in seconds since 1970, to the nearest millisecond.
fn sample(seconds: f64, value: &str) -> Option<Sample> {
    let since_1970 = Duration::try_from_secs_f64(seconds + 0.000_5).ok()?;
    Some(Sample {
        at: since_1970.as_millis().try_into().ok()?,
        value: value.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_a_range_are_read_with_their_milliseconds() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"queue":"a"},"values":[[1.5,"0"],[1796040000.123,"+Inf"],[1796040001,"NaN"]]}]},
            "warnings":["partial"]}"#;
        let answer = parse(text.as_bytes(), Kind::Matrix).unwrap();
        assert_eq!(answer.warnings, ["partial"]);
        let [series] = answer.series.as_slice() else {
            panic!("{answer:?}")
        };
        let times: Vec<i64> = series.samples.iter().map(|sample| sample.at).collect();
        assert_eq!(times, [1_500, 1_796_040_000_123, 1_796_040_001_000]);
        let [first, second, third] = [0, 1, 2].map(|index| series.samples[index].value);
        assert!(first == 0.0 && second.is_infinite() && third.is_nan());
    }

    #[test]
    fn another_answer_is_refused() {
        let wrong = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#;
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        let number = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{},"value":[1,"one"]}]}}"#;
        let cases = [wrong, refused, number, "<html>", "{}", "[]"];
        let found = cases.map(|text| parse(text.as_bytes(), Kind::Vector).unwrap_err());
        let other = |text: &str| Cause::NotPrometheus {
            excerpt: excerpt(text.as_bytes()),
        };
        let expected = [
            Cause::WrongType {
                found: "scalar".to_owned(),
                expected: "vector",
            },
            Cause::Refused {
                kind: "bad_data".to_owned(),
                message: "parse error".to_owned(),
            },
            other(number),
            other("<html>"),
            other("{}"),
            other("[]"),
        ];
        assert_eq!(found, expected);
    }
}
