//! Two clusters in one Prometheus stay apart: no query of the dashboards and no rule adds up or
//! matches series of different clusters. No I/O but reading the chart.

use serde_json::Value;

use crate::monitoring::{dashboards, rules, uses};
use crate::objects::text;

/// Aggregations that make one series out of many. `topk` and its like choose series and keep their
/// labels.
const MERGING: [&str; 9] = [
    "avg",
    "count",
    "count_values",
    "group",
    "max",
    "min",
    "quantile",
    "stddev",
    "sum",
];

/// What a query is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// One number over everything that is selected: it asks for an aggregation without `by`.
    Number,
    /// Anything with labels.
    Series,
}

/// The words and marks of an expression, without its strings, selectors and ranges.
fn tokens(expression: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut closing: Option<char> = None;
    for character in expression.chars() {
        if let Some(close) = closing {
            if character == close {
                closing = None;
            }
            continue;
        }
        if character.is_alphanumeric() || "_:$.".contains(character) {
            word.push(character);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        match character {
            '"' => closing = Some('"'),
            '{' => closing = Some('}'),
            '[' => closing = Some(']'),
            _ if character.is_whitespace() => {}
            _ => tokens.push(character.to_string()),
        }
    }
    tokens.extend(Some(word).filter(|word| !word.is_empty()));
    tokens
}

/// What comes after the parenthesis that opens at `open`.
fn after(tokens: &[String], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// Where an expression mixes clusters.
fn mixed(expression: &str, purpose: Purpose) -> Vec<String> {
    let tokens = tokens(expression);
    let at = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let list = &tokens[index..after(&tokens, index + 1)];
        let clause = || list.join(" ");
        let names_cluster = list.iter().any(|label| label == "cluster");
        match token.as_str() {
            "by" | "on" if !names_cluster => found.push(clause()),
            "without" | "ignoring" if names_cluster => found.push(clause()),
            aggregation if MERGING.contains(&aggregation) => {
                let grouped = |index| ["by", "without"].contains(&at(index));
                let merges_all = at(index + 1) == "(" && !grouped(after(&tokens, index + 1));
                if merges_all && purpose == Purpose::Series {
                    found.push(format!("{aggregation} of everything"));
                }
            }
            _ => {}
        }
    }
    found
}

/// Every expression of the rules and dashboards, with its title and purpose.
fn expressions() -> Vec<(String, String, Purpose)> {
    let entry =
        |title: &str, expression: &str, purpose| (title.to_owned(), expression.to_owned(), purpose);
    let mut all = Vec::new();
    for rule in rules() {
        let title = [text(&rule, "/alert"), text(&rule, "/record")].concat();
        all.push(entry(&title, text(&rule, "/expr"), Purpose::Series));
    }
    for dashboard in dashboards() {
        for panel in list(&dashboard, "/panels") {
            let purpose = match text(panel, "/type") {
                "stat" => Purpose::Number,
                _ => Purpose::Series,
            };
            for target in list(panel, "/targets") {
                all.push(entry(text(panel, "/title"), text(target, "/expr"), purpose));
            }
        }
        for annotation in list(&dashboard, "/annotations/list") {
            let (title, expression) = (text(annotation, "/name"), text(annotation, "/expr"));
            all.push(entry(title, expression, Purpose::Series));
        }
    }
    all
}

fn list<'a>(value: &'a Value, pointer: &str) -> Vec<&'a Value> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten().collect()
}

#[test]
fn no_rule_and_no_query_adds_up_or_matches_series_of_different_clusters() {
    let found: Vec<String> = expressions()
        .into_iter()
        .flat_map(|(title, expression, purpose)| {
            let mixed = mixed(&expression, purpose);
            mixed.into_iter().map(move |one| format!("{title}: {one}"))
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_query_and_variable_of_the_dashboards_selects_the_cluster() {
    let mut found = Vec::new();
    for dashboard in dashboards() {
        let panels = list(&dashboard, "/panels").into_iter().flat_map(|panel| {
            let targets = list(panel, "/targets").into_iter();
            targets.map(|target| (text(panel, "/title"), text(target, "/expr")))
        });
        let annotations = list(&dashboard, "/annotations/list").into_iter();
        let annotations = annotations.map(|one| (text(one, "/name"), text(one, "/expr")));
        let variables = list(&dashboard, "/templating/list").into_iter();
        let variables = variables
            .map(|one| (text(one, "/name"), text(one, "/definition")))
            // Its values are what the others select by.
            .filter(|(name, _)| *name != "cluster");
        for (title, expression) in panels.chain(annotations).chain(variables) {
            let unselected = uses(expression)
                .into_iter()
                .filter(|(_, labels)| !labels.iter().any(|label| label == "cluster"));
            found.extend(unselected.map(|(metric, _)| format!("{title}: {metric}")));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_line_says_of_which_cluster_it_is() {
    let mut found = Vec::new();
    for dashboard in dashboards() {
        for panel in list(&dashboard, "/panels") {
            let lines = list(panel, "/targets").into_iter();
            let unnamed = lines
                .map(|target| text(target, "/legendFormat"))
                .filter(|legend| !legend.contains("{{cluster}}"))
                .filter(|_| text(panel, "/type") == "timeseries");
            found.extend(unnamed.map(|legend| format!("{}: {legend}", text(panel, "/title"))));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_expression_that_mixes_clusters_is_noticed() {
    let table: [(&str, &[&str]); 9] = [
        ("sum by (cluster, a) (x)", &[]),
        ("sum(x) by (cluster)", &[]),
        ("topk(3, x{a=\"sum(\"})", &[]),
        ("sum by (a) (x)", &["by ( a )"]),
        ("sum(max by (cluster) (x))", &["sum of everything"]),
        ("max(x) by (a) + 1", &["by ( a )"]),
        (
            "sum without (cluster, pod) (x)",
            &["without ( cluster , pod )"],
        ),
        ("a > on (b) group_left (cluster) c", &["on ( b )"]),
        ("a / ignoring (cluster) b", &["ignoring ( cluster )"]),
    ];
    for (expression, expected) in table {
        let found = mixed(expression, Purpose::Series);
        assert_eq!(found, expected, "{expression}");
    }
    let number = mixed("sum(max by (a) (x))", Purpose::Number);
    assert_eq!(number, ["by ( a )"]);
}
