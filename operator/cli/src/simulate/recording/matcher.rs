//! Selectors of Prometheus: which series are asked for. Pure.

use std::fmt;
use std::str::FromStr;

/// A fleet: `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetName {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl FromStr for FleetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err("expected NAMESPACE/NAME of a TaskQueueWorker".to_owned()),
        }
    }
}

impl fmt::Display for FleetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a label must be, as in a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    label: String,
    operator: &'static str,
    value: String,
}

impl Matcher {
    /// The label has this value.
    pub(super) fn equal(label: &str, value: &str) -> Self {
        Self {
            label: label.to_owned(),
            operator: "=",
            value: value.to_owned(),
        }
    }

    /// The label has one of these values, which have no characters that mean something in a regular
    /// expression.
    pub(super) fn any(label: &str, values: &[&str]) -> Self {
        Self {
            label: label.to_owned(),
            operator: "=~",
            value: values.join("|"),
        }
    }
}

impl FromStr for Matcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || "expected LABEL=VALUE, LABEL!=VALUE, LABEL=~REGEX or LABEL!~REGEX".to_owned();
        let end = text
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .ok_or_else(expected)?;
        let (label, rest) = text.split_at(end);
        let operators = ["=~", "!~", "!=", "="];
        let operator = operators.into_iter().find(|o| rest.starts_with(o));
        let operator = operator.ok_or_else(expected)?;
        let value = &rest[operator.len()..];
        let value = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'))
            .unwrap_or(value);
        if label.is_empty() || label.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(expected());
        }
        Ok(Self {
            label: label.to_owned(),
            operator,
            value: value.to_owned(),
        })
    }
}

/// Shows it as a part of a selector.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = self.value.replace('\\', "\\\\").replace('"', "\\\"");
        let escaped = escaped.replace('\n', "\\n");
        write!(f, "{}{}\"{escaped}\"", self.label, self.operator)
    }
}

/// A selector of all of these.
pub(super) fn selector(matchers: &[Matcher]) -> String {
    let matchers: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
    format!("{{{}}}", matchers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_is_written_as_a_part_of_a_selector() {
        let table = [
            ("cluster=a", Ok(r#"cluster="a""#)),
            (r#"cluster="a""#, Ok(r#"cluster="a""#)),
            ("cluster!=a", Ok(r#"cluster!="a""#)),
            ("cluster=~a|b", Ok(r#"cluster=~"a|b""#)),
            ("cluster!~a.*", Ok(r#"cluster!~"a.*""#)),
            ("_x1=", Ok(r#"_x1="""#)),
            (r#"a="},b="#, Ok(r#"a="\"},b=""#)),
            (r"a=b\d", Ok(r#"a="b\\d""#)),
            ("cluster", Err(())),
            ("=a", Err(())),
            ("1a=b", Err(())),
            ("a b=c", Err(())),
            ("a>b", Err(())),
            ("", Err(())),
        ];
        for (text, expected) in table {
            let parsed = text.parse::<Matcher>().map(|matcher| matcher.to_string());
            assert_eq!(parsed.as_deref().map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn a_fleet_has_a_namespace() {
        let parsed: FleetName = "shop/orders".parse().unwrap();
        assert_eq!(parsed.to_string(), "shop/orders");
        for wrong in ["orders", "/orders", "shop/", "a/b/c", ""] {
            assert!(wrong.parse::<FleetName>().is_err(), "{wrong}");
        }
    }
}
