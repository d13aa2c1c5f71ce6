//! The environment of the process as typed values. Pure, apart from reading the variables once.
//! Every error is one sentence that names the variable and the allowed values.
//!
//! clap's `env` does not fit: its messages repeat the value, which may be a credential; it takes an
//! empty variable for a value; and rules that span two variables would still need a check of their
//! own.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// A missing or invalid setting. `Display` is one sentence.
///
/// A program that [`run_command`](crate::run_command) runs ends with exit code 2 if its error is
/// one of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct SettingError {
    /// The name of the variable.
    pub variable: String,
    /// What is wrong and what is allowed. Never repeats a credential.
    pub problem: String,
}

impl SettingError {
    /// An error in `variable`. `problem` completes the sentence, such as "must be a number".
    pub fn new(variable: &str, problem: impl Into<String>) -> Self {
        Self {
            variable: variable.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Environment variables. An empty variable counts as absent. Never printed: it holds credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let owned = variables.into_iter();
        Self(
            owned
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl Environment {
    /// The variables of this process.
    pub fn of_process() -> Self {
        std::env::vars_os()
            // Lossy conversion, or a value that is not Unicode would count as absent.
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect()
    }

    /// The value of a variable; `None` if it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// The value of a variable that must be set. `purpose` completes the sentence "NAME is missing;
    /// set it to …".
    pub fn required(&self, name: &str, purpose: &str) -> Result<&str, SettingError> {
        self.get(name)
            .ok_or_else(|| SettingError::new(name, format!("is missing; set it to {purpose}")))
    }

    /// Parses a variable; `None` if it is absent. `must_be` says what is allowed, such as "must be
    /// json or text".
    pub fn parse<T>(
        &self,
        name: &str,
        must_be: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingError> {
        self.get(name)
            .map(|value| parse(value).ok_or_else(|| SettingError::new(name, must_be)))
            .transpose()
    }

    /// A whole number within bounds.
    pub fn number<T>(
        &self,
        name: &str,
        default: T,
        bounds: RangeInclusive<T>,
    ) -> Result<T, SettingError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let (min, max) = (bounds.start(), bounds.end());
        let must_be = format!("must be a whole number from {min} to {max}");
        let number = self.parse(name, &must_be, |value| {
            value.parse().ok().filter(|number| bounds.contains(number))
        })?;
        Ok(number.unwrap_or(default))
    }

    /// A duration in whole seconds within bounds.
    pub fn seconds(
        &self,
        name: &str,
        default: u64,
        bounds: RangeInclusive<u64>,
    ) -> Result<Duration, SettingError> {
        self.number(name, default, bounds).map(Duration::from_secs)
    }

    /// `true` or `1`, `false` or `0`.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, SettingError> {
        self.parse(name, "must be true or false", |value| {
            match value.to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            }
        })
    }

    /// An IP address and a port to listen on.
    pub fn socket(&self, name: &str, default: SocketAddr) -> Result<SocketAddr, SettingError> {
        let must_be = "must be an IP address and a port, such as [::]:8080";
        let address = self.parse(name, must_be, |value| value.parse().ok())?;
        Ok(address.unwrap_or(default))
    }

    /// The variables with a value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter().map(|(name, value)| (&**name, &**value));
        all.filter(|(_, value)| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_absent_and_a_mistake_names_what_is_allowed() {
        let environment = Environment::from_iter([("EMPTY", ""), ("N", "12"), ("FLAG", "maybe")]);
        assert_eq!(environment.get("EMPTY"), None);
        assert_eq!(environment.number("EMPTY", 7, 1..=9), Ok(7));
        assert_eq!(environment.number("N", 7, 1..=12), Ok(12));
        let mistake = |error: SettingError| error.to_string();
        assert_eq!(
            environment.number("N", 7, 1..=9).map_err(mistake),
            Err("N must be a whole number from 1 to 9".to_owned())
        );
        assert_eq!(
            environment.boolean("FLAG").map_err(mistake),
            Err("FLAG must be true or false".to_owned())
        );
        assert_eq!(
            environment.required("EMPTY", "a URL").map_err(mistake),
            Err("EMPTY is missing; set it to a URL".to_owned())
        );
        assert!(!format!("{environment:?}").contains("12"));
    }
}
