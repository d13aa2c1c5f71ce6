//! What a Grafana dashboard shows: its panels and their queries, read from its JSON. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// The chart's dashboard of one fleet.
pub const DASHBOARD: &str =
    include_str!("../../../../charts/taskqueue-operator/files/dashboard.json");

/// The chart's dashboard of all fleets.
pub const FLEETS_DASHBOARD: &str =
    include_str!("../../../../charts/taskqueue-operator/files/dashboard-fleets.json");

/// Everything that a dashboard shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dashboard {
    /// Its heading.
    pub title: String,
    /// What it is made of, in the order of the file.
    pub panels: Vec<Panel>,
    /// What it marks in every panel.
    pub annotations: Vec<Annotation>,
    /// What people choose, but for the Prometheus.
    pub choices: Vec<Choice>,
}

/// Moments that are marked in every panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Its name.
    pub title: String,
    /// Above zero where something is marked, with every variable filled in.
    pub expression: String,
    /// Seconds between two points of the query.
    pub step: i64,
}

/// A variable with the values that people choose from: those of a label of the series selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its name, without the `$`.
    pub name: String,
    /// Which series, with every other variable filled in.
    pub selector: String,
    /// Which of their labels.
    pub label: String,
}

/// How a panel shows its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A heading over the panels below.
    Row,
    /// One number: the last.
    Stat,
    /// Lines over time.
    Lines,
    /// Bars over time.
    Bars,
    /// The present series and their labels.
    Table,
}

/// One panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panel {
    /// Its heading.
    pub title: String,
    /// How it shows its data.
    pub kind: Kind,
    /// Column, line, width and height, in Grafana's grid of 24 columns.
    pub place: [u64; 4],
    /// Grafana's word for the unit: short, s, ops.
    pub unit: String,
    /// What it asks.
    pub queries: Vec<Query>,
}

/// One query of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The expression, with every variable filled in.
    pub expression: String,
    /// The name of a series, with its labels as `{{label}}`.
    pub legend: String,
    /// Whether its lines are dashed.
    pub dashed: bool,
}

impl Dashboard {
    /// Reads a dashboard and fills in its variables: `namespace` is written without the `$`.
    ///
    /// # Errors
    /// If the text is no dashboard, a panel or a variable is of an unknown kind, or a variable
    /// stays open.
    pub fn parse(text: &str, variables: &BTreeMap<&str, &str>) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let panels = json["panels"].as_array().ok_or("it has no panels")?;
        let annotations = json["annotations"]["list"].as_array();
        let choices = json["templating"]["list"].as_array();
        Ok(Self {
            title: string(&json["title"]),
            panels: panels
                .iter()
                .map(|panel| Panel::parse(panel, variables))
                .collect::<Result<_, _>>()?,
            annotations: annotations
                .into_iter()
                .flatten()
                .map(|annotation| Annotation::parse(annotation, variables))
                .collect::<Result<_, _>>()?,
            choices: choices
                .into_iter()
                .flatten()
                .filter(|choice| choice["type"] != "datasource")
                .map(|choice| Choice::parse(choice, variables))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Annotation {
    fn parse(annotation: &Value, variables: &BTreeMap<&str, &str>) -> Result<Self, String> {
        let title = string(&annotation["name"]);
        let step = string(&annotation["step"]);
        let seconds = step.strip_suffix('s').and_then(|step| step.parse().ok());
        Ok(Self {
            expression: filled(&title, &annotation["expr"], variables)?,
            step: seconds.ok_or_else(|| format!("{title}: the step {step} is not in seconds"))?,
            title,
        })
    }
}

impl Choice {
    fn parse(choice: &Value, variables: &BTreeMap<&str, &str>) -> Result<Self, String> {
        let name = string(&choice["name"]);
        let query = filled(&name, &choice["query"]["query"], variables)?;
        let parts = query.strip_prefix("label_values(");
        let parts = parts.and_then(|parts| parts.strip_suffix(')'));
        let (selector, label) = parts
            .and_then(|parts| parts.rsplit_once(", "))
            .ok_or_else(|| format!("{name}: the form of the variable is unknown: {query}"))?;
        Ok(Self {
            name,
            selector: selector.to_owned(),
            label: label.to_owned(),
        })
    }
}

impl Panel {
    fn parse(panel: &Value, variables: &BTreeMap<&str, &str>) -> Result<Self, String> {
        let title = string(&panel["title"]);
        let defaults = &panel["fieldConfig"]["defaults"];
        let kind = match panel["type"].as_str() {
            Some("row") => Kind::Row,
            Some("stat") => Kind::Stat,
            Some("table") => Kind::Table,
            Some("timeseries") if defaults["custom"]["drawStyle"] == "bars" => Kind::Bars,
            Some("timeseries") => Kind::Lines,
            other => {
                return Err(format!("{title}: the panel type {other:?} is unknown"));
            }
        };
        let grid = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(0);
        let dashed = dashed(&panel["fieldConfig"]["overrides"]);
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let query = |target: &Value| {
            let expression = filled(&title, &target["expr"], variables)?;
            let legend = string(&target["legendFormat"]);
            let begins = |word: &String| legend.starts_with(&format!("{word} "));
            Ok::<_, String>(Query {
                expression,
                dashed: dashed.iter().any(begins),
                legend,
            })
        };
        Ok(Self {
            kind,
            place: ["x", "y", "w", "h"].map(grid),
            unit: string(&defaults["unit"]),
            queries: targets.iter().map(query).collect::<Result<_, _>>()?,
            title,
        })
    }
}

/// The words with which the names of dashed lines begin: an override dashes what matches `^word .*`
/// or `^(word|other) .*`, the only forms that the dashboard uses.
fn dashed(overrides: &Value) -> Vec<String> {
    let overrides = overrides.as_array().cloned().unwrap_or_default();
    let dashing = overrides.iter().filter(|one| {
        let properties = one["properties"].as_array().cloned().unwrap_or_default();
        let dash = |property: &Value| {
            property["id"] == "custom.lineStyle" && property["value"]["fill"] == "dash"
        };
        properties.iter().any(dash)
    });
    let pattern = |one: &Value| string(&one["matcher"]["options"]);
    let words = dashing.flat_map(|one| {
        let pattern = pattern(one);
        let words = pattern.trim_start_matches('^').trim_end_matches(" .*");
        let words = words.trim_start_matches('(').trim_end_matches(')');
        words.split('|').map(str::to_owned).collect::<Vec<_>>()
    });
    words.collect()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A query with every variable filled in; `title` names it in errors.
fn filled(title: &str, query: &Value, variables: &BTreeMap<&str, &str>) -> Result<String, String> {
    let expression = fill_in(query.as_str().unwrap_or_default(), variables);
    if expression.is_empty() || expression.contains('$') {
        return Err(format!(
            "{title}: a query is empty or has an open variable: {expression}"
        ));
    }
    Ok(expression)
}

/// Replaces `$name` and `${name}`; the longest names first, since one may begin with another.
fn fill_in(text: &str, variables: &BTreeMap<&str, &str>) -> String {
    let mut names: Vec<&&str> = variables.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.into_iter().fold(text.to_owned(), |text, name| {
        let value = variables[*name];
        text.replace(&format!("${{{name}}}"), value)
            .replace(&format!("${name}"), value)
    })
}

/// What Grafana would fill in for one fleet, but for what depends on the range shown
/// (`__interval`, `__range`). `queue` is a regular expression, `rate_interval` a duration.
pub fn variables<'a>(
    namespace: &'a str,
    fleet: &'a str,
    queue: &'a str,
    rate_interval: &'a str,
) -> BTreeMap<&'static str, &'a str> {
    BTreeMap::from([
        ("cluster", ".*"),
        ("namespace", namespace),
        ("fleet", fleet),
        ("queue", queue),
        ("__rate_interval", rate_interval),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboards_of_the_chart_are_parsed_and_every_variable_is_replaced() {
        let mut variables = variables("shop", "orders", ".*", "1m");
        variables.extend([("__interval", "15s"), ("__range", "1h")]);
        let [dashboard, fleets] =
            [DASHBOARD, FLEETS_DASHBOARD].map(|text| Dashboard::parse(text, &variables).unwrap());
        assert_eq!(
            [&dashboard.title, &fleets.title],
            ["Temporal worker fleet", "Temporal worker fleets"]
        );
        let without: Vec<&str> = [&dashboard.panels, &fleets.panels]
            .into_iter()
            .flatten()
            .filter(|panel| panel.queries.is_empty() != (panel.kind == Kind::Row))
            .map(|panel| panel.title.as_str())
            .collect();
        assert_eq!(without, [""; 0], "rows have no queries, all others have");
        let queries = dashboard.panels.iter().flat_map(|panel| &panel.queries);
        let dashed: Vec<&str> = queries
            .filter(|query| query.dashed)
            .filter_map(|query| query.legend.split_once(" {{"))
            .map(|(word, _)| word)
            .collect();
        assert_eq!(dashed, ["target", "dispatched", "requested", "min", "max"]);
        let annotations = dashboard.annotations.iter();
        let annotations: Vec<_> = annotations
            .map(|one| (one.title.as_str(), one.step))
            .collect();
        assert_eq!(annotations, [("Changes of replicas", 60)]);
        let choices = |dashboard: &Dashboard| -> Vec<[String; 3]> {
            let choices = dashboard.choices.iter().cloned();
            choices
                .map(|one| [one.name, one.selector, one.label])
                .collect()
        };
        let [build_info, max] =
            ["build_info", "max_replicas"].map(|name| format!("taskqueue_operator_{name}"));
        let of_all = [
            ["cluster", &build_info, "cluster"].map(str::to_owned),
            [
                "namespace",
                &format!("{max}{{cluster=~\".*\"}}"),
                "namespace",
            ]
            .map(str::to_owned),
        ];
        let (cluster, shop) = ("cluster=~\".*\"", "namespace=~\"shop\"");
        let of_one = [
            ["fleet", &format!("{max}{{{cluster}, {shop}}}"), "name"].map(str::to_owned),
            [
                "queue",
                &format!("{max}{{{cluster}, {shop}, name=~\"orders\"}}"),
                "queue",
            ]
            .map(str::to_owned),
        ];
        assert_eq!(choices(&fleets), of_all);
        assert_eq!(choices(&dashboard), [of_all, of_one].concat());
    }

    #[test]
    fn an_annotation_or_a_variable_of_an_unknown_form_is_refused() {
        let parse = |part: &str, entry: Value| {
            let text = serde_json::json!({"panels": [], part: {"list": [entry]}}).to_string();
            Dashboard::parse(&text, &BTreeMap::new()).map(drop)
        };
        let annotation = serde_json::json!({"name": "a", "expr": "x > 0", "step": "1m"});
        assert_eq!(
            parse("annotations", annotation),
            Err("a: the step 1m is not in seconds".to_owned())
        );
        let variable = serde_json::json!({"name": "v", "query": {"query": "query_result(x)"}});
        assert_eq!(
            parse("templating", variable),
            Err("v: the form of the variable is unknown: query_result(x)".to_owned())
        );
        let open = serde_json::json!({"name": "v", "query": {"query": "label_values($x, y)"}});
        assert_eq!(
            parse("templating", open),
            Err("v: a query is empty or has an open variable: label_values($x, y)".to_owned())
        );
    }

    #[test]
    fn an_unknown_variable_is_refused() {
        let variables = BTreeMap::from([("a", "1"), ("ab", "2")]);
        let text = |query: &str| {
            serde_json::json!({
                "title": "t",
                "panels": [{"type": "stat", "title": "p", "targets": [{"expr": query}]}],
            })
            .to_string()
        };
        let filled = Dashboard::parse(&text("$a + ${ab} + $ab"), &variables).unwrap();
        assert_eq!(filled.panels[0].queries[0].expression, "1 + 2 + 2");
        assert_eq!(
            Dashboard::parse(&text("$b"), &variables),
            Err("p: a query is empty or has an open variable: $b".to_owned())
        );
    }
}
