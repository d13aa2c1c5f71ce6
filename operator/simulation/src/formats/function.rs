//! Which function of Azure Functions is simulated. Pure.

use super::error::TraceError;

/// The chosen function, or all of them.
#[derive(Debug)]
pub(super) struct Choice {
    /// The beginning of its name, or of `APP/FUNCTION`.
    wanted: Option<String>,
    /// The first one that matched: its app and its name.
    found: Option<(String, String)>,
}

impl Choice {
    pub(super) const fn new(wanted: Option<String>) -> Self {
        Self {
            wanted,
            found: None,
        }
    }

    /// Whether this function is chosen. A name is unique within an app only.
    pub(super) fn takes(&mut self, app: &str, function: &str) -> Result<bool, TraceError> {
        let Some(wanted) = &self.wanted else {
            return Ok(true);
        };
        let matches = match wanted.split_once('/') {
            Some((of, name)) => app.starts_with(of) && function.starts_with(name),
            None => function.starts_with(wanted.as_str()),
        };
        if !matches {
            return Ok(false);
        }
        let Some((known_app, known)) = &self.found else {
            self.found = Some((app.to_owned(), function.to_owned()));
            return Ok(true);
        };
        if known_app == app && known == function {
            return Ok(true);
        }
        Err(TraceError::Ambiguous {
            function: wanted.clone(),
            first: format!("{known_app}/{known}"),
            second: format!("{app}/{function}"),
        })
    }

    /// Whether one function was asked for.
    pub(super) const fn is_one(&self) -> bool {
        self.wanted.is_some()
    }

    /// An error if the function that was asked for did not appear.
    pub(super) fn end(&self) -> Result<(), TraceError> {
        match (&self.wanted, &self.found) {
            (Some(wanted), None) => Err(TraceError::NoFunction {
                function: wanted.clone(),
            }),
            _ => Ok(()),
        }
    }
}
