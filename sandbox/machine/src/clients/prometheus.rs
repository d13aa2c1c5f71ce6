//! Client of a sandbox's Prometheus over its HTTP API. Network I/O on loopback; parsing is pure.
//!
//! Why not a crate: prometheus-http-query 0.9 is asynchronous, and the sandbox has no runtime.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    clients::http,
    error::{Error, Result},
    sandbox::Sandbox,
};

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels, `__name__` among them if it has one.
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970 and values, in order of time, without values that are not finite.
    pub samples: Vec<(f64, f64)>,
}

/// One rule as Prometheus evaluates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The alert, or the name of the series that it records.
    pub name: String,
    /// `ok`, `err`, or `unknown` before its first evaluation.
    pub health: String,
    /// Why it cannot be evaluated.
    pub error: String,
}

/// The Prometheus of a sandbox.
#[derive(Debug, Clone)]
pub struct Prometheus {
    address: String,
}

impl Prometheus {
    /// Finds its address.
    ///
    /// # Errors
    /// If the sandbox is not up.
    pub fn of(sandbox: &Sandbox) -> Result<Self> {
        Ok(Self {
            address: sandbox.address("prometheus")?,
        })
    }

    /// A query at one time (seconds since 1970): one sample per series.
    ///
    /// # Errors
    /// If Prometheus refuses the query or does not answer.
    pub fn instant(&self, query: &str, at: i64) -> Result<Vec<Series>> {
        self.ask(
            query,
            &format!("query?query={}&time={at}", http::escape(query)),
        )
    }

    /// A query over time, one sample per `step` seconds.
    ///
    /// # Errors
    /// If Prometheus refuses the query or does not answer.
    pub fn range(&self, query: &str, from: i64, to: i64, step: i64) -> Result<Vec<Series>> {
        let query_text = http::escape(query);
        self.ask(
            query,
            &format!("query_range?query={query_text}&start={from}&end={to}&step={step}"),
        )
    }

    /// The values that a label has on the series that `selector` selects, from `from` to `to`
    /// (seconds since 1970), in order.
    ///
    /// # Errors
    /// If Prometheus refuses the selector or does not answer.
    pub fn label_values(
        &self,
        selector: &str,
        label: &str,
        (from, to): (i64, i64),
    ) -> Result<Vec<String>> {
        let refused = |why: String| Error::source(format!("Prometheus: {selector}"), why);
        let path = format!(
            "/api/v1/label/{label}/values?{}={}&start={from}&end={to}",
            http::escape("match[]"),
            http::escape(selector)
        );
        let text = http::get(&self.address, &path).map_err(|error| refused(error.to_string()))?;
        label_values(&text).map_err(refused)
    }

    /// Every rule that is loaded.
    ///
    /// # Errors
    /// If Prometheus does not answer.
    pub fn rules(&self) -> Result<Vec<Rule>> {
        let text = http::get(&self.address, "/api/v1/rules")?;
        rules(&text).map_err(|why| Error::source("Prometheus' rules", why))
    }

    fn ask(&self, query: &str, path: &str) -> Result<Vec<Series>> {
        let refused = |why: String| Error::source(format!("Prometheus: {query}"), why);
        let text = http::get(&self.address, &format!("/api/v1/{path}"))
            .map_err(|error| refused(error.to_string()))?;
        series(&text).map_err(refused)
    }
}

fn series(text: &str) -> Result<Vec<Series>, String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let result = answer["data"]["result"]
        .as_array()
        .ok_or("the answer holds no series")?;
    result.iter().map(one_series).collect()
}

fn one_series(entry: &Value) -> Result<Series, String> {
    let labels = entry["metric"]
        .as_object()
        .ok_or("a series has no labels")?;
    let labels = labels
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
    // An instant query answers with one `value`, a range query with `values`.
    let samples = match entry["values"].as_array() {
        Some(samples) => samples.clone(),
        None => vec![entry["value"].clone()],
    };
    let sample = |sample: &Value| {
        let value: f64 = sample[1].as_str()?.parse().ok()?;
        Some((sample[0].as_f64()?, value)).filter(|_| value.is_finite())
    };
    Ok(Series {
        labels: labels.collect(),
        samples: samples.iter().filter_map(sample).collect(),
    })
}

fn label_values(text: &str) -> Result<Vec<String>, String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let values = answer["data"]
        .as_array()
        .ok_or("the answer holds no values")?;
    let values = values.iter().filter_map(Value::as_str);
    Ok(values.map(str::to_owned).collect())
}

fn rules(text: &str) -> Result<Vec<Rule>, String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let groups = answer["data"]["groups"]
        .as_array()
        .ok_or("the answer holds no groups")?;
    let all = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(all
        .map(|rule| Rule {
            name: text(&rule["name"]),
            health: text(&rule["health"]),
            error: text(&rule["lastError"]),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_response_are_parsed_and_values_that_are_not_numbers_are_skipped() {
        let labels = BTreeMap::from([("queue".to_owned(), "payments".to_owned())]);
        let range = r#"{"data":{"result":[{"metric":{"queue":"payments"},"values":[[1,"0"],[2.5,"NaN"],[4,"1.5"]]}]}}"#;
        assert_eq!(
            series(range),
            Ok(vec![Series {
                labels: labels.clone(),
                samples: vec![(1.0, 0.0), (4.0, 1.5)],
            }])
        );
        let instant = r#"{"data":{"result":[{"metric":{"queue":"payments"},"value":[7,"3"]}]}}"#;
        assert_eq!(
            series(instant),
            Ok(vec![Series {
                labels,
                samples: vec![(7.0, 3.0)],
            }])
        );
        assert!(series(r#"{"status":"error"}"#).is_err());
    }

    #[test]
    fn the_values_of_a_label_are_read() {
        let text = r#"{"status":"success","data":["mails","payments"]}"#;
        let expected = ["mails", "payments"].map(str::to_owned).to_vec();
        assert_eq!(label_values(text), Ok(expected));
        assert!(label_values(r#"{"status":"error"}"#).is_err());
    }

    #[test]
    fn rules_are_read_with_their_health() {
        let text = r#"{"data":{"groups":[{"rules":[{"name":"A","health":"ok"},{"name":"b:c:sum","health":"err","lastError":"many-to-many"}]}]}}"#;
        let rule = |name: &str, health: &str, error: &str| Rule {
            name: name.to_owned(),
            health: health.to_owned(),
            error: error.to_owned(),
        };
        assert_eq!(
            rules(text),
            Ok(vec![
                rule("A", "ok", ""),
                rule("b:c:sum", "err", "many-to-many")
            ])
        );
    }
}
