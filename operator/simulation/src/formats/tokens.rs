//! How long a request to a language model takes, by its tokens. Pure.

use std::fmt;
use std::str::FromStr;

use super::row::whole_millis;
use crate::time::Millis;

/// The longest time for a request or a token: 1000 s.
const MOST_MICROS: f64 = 1e9;

/// The time of a request, for traces that have its tokens only: a fixed part, and one for each
/// token of either kind, in microseconds. The default is 50 ms, 0.2 ms for each token of context
/// and 30 ms for each generated token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTimes {
    /// For the request.
    pub request: u64,
    /// For each token of context.
    pub context: u64,
    /// For each generated token.
    pub generated: u64,
}

/// A text that is not three times.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be three times in milliseconds, from 0 to 1000000 each: for the request, a token of \
     context and a generated token, such as 50,0.2,30"
)]
pub struct TokenTimesError;

impl Default for TokenTimes {
    fn default() -> Self {
        Self {
            request: 50_000,
            context: 200,
            generated: 30_000,
        }
    }
}

impl TokenTimes {
    /// The time of a request with these tokens.
    pub(super) fn of(self, context: u32, generated: u32) -> Millis {
        let micros = self.request as f64
            + self.context as f64 * f64::from(context)
            + self.generated as f64 * f64::from(generated);
        whole_millis(micros / 1000.0)
    }

    /// What a trace without durations assumes.
    pub(super) fn assumption(self) -> String {
        format!("durations follow from the tokens: {self}")
    }
}

impl fmt::Display for TokenTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |micros: u64| micros as f64 / 1000.0;
        write!(
            f,
            "{} ms, {} ms per token of context, {} ms per generated token",
            millis(self.request),
            millis(self.context),
            millis(self.generated)
        )
    }
}

impl FromStr for TokenTimes {
    type Err = TokenTimesError;

    /// Reads three times in milliseconds, such as `50,0.2,30`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let micros = |field: &str| match field.trim().parse::<f64>() {
            Ok(millis) if (0.0..=MOST_MICROS).contains(&(millis * 1000.0)) => {
                Ok((millis * 1000.0).round() as u64)
            }
            _ => Err(TokenTimesError),
        };
        let fields: Vec<&str> = text.split(',').collect();
        let [request, context, generated] = fields.as_slice() else {
            return Err(TokenTimesError);
        };
        Ok(Self {
            request: micros(request)?,
            context: micros(context)?,
            generated: micros(generated)?,
        })
    }
}
