//! The client of the payment gateway: what is sent, and what each answer means. HTTP only; knows
//! no database and no Temporal.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode, Url};
use serde::{Deserialize, Serialize};

use crate::activities::{PaymentRequest, Settlement};
use crate::failure::{Failure, FailureType};
use crate::order::Payment;

/// The message of a declined payment.
pub const DECLINED_MESSAGE: &str = "Payment declined";
/// The header that makes a repeated request the same request.
pub const IDEMPOTENCY_HEADER: &str = "Idempotency-Key";

/// Longest wait for an answer. Afterwards the outcome is unknown until it is settled.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest `Retry-After` that is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The key of an order's charge: the same for every attempt and for the settlement, another for
/// any other order or workflow, and safe in a header and in a path whatever characters the ids
/// have. The workflow id alone is enough where it is made of the order's (`order-ID`).
pub fn idempotency_key(workflow_id: &str, order_id: &str) -> String {
    let mut key = String::with_capacity(workflow_id.len() + order_id.len() + 9);
    append_escaped(&mut key, workflow_id);
    if workflow_id.strip_prefix("order-") != Some(order_id) {
        // No escaped text holds two of these.
        key.push_str("~~");
        append_escaped(&mut key, order_id);
    }
    key.push_str("-charge");
    key
}

fn append_escaped(key: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            key.push(char::from(byte));
        } else {
            let digits = [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ];
            key.push('~');
            key.extend(digits.map(char::from));
        }
    }
}

/// The body of `POST /charge`. The card is a token, and never printed.
#[derive(Serialize)]
struct ChargeBody<'a> {
    order_id: &'a str,
    amount: i64,
    currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<&'a str>,
}

/// A charge as the gateway tells of it.
#[derive(Deserialize)]
struct ChargeAnswer {
    status: String,
    #[serde(default)]
    charge_id: Option<String>,
    #[serde(default)]
    amount: Option<i64>,
}

/// A client with a connection pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GatewayClient {
    http: reqwest::Client,
    base: Url,
}

impl GatewayClient {
    /// A client for a gateway at `base`. Needs the process's TLS provider to be installed.
    pub fn new(base: &Url) -> Result<Self, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .redirect(
                // A redirected POST would become a GET, or charge somebody else's gateway.
                reqwest::redirect::Policy::none(),
            );
        if base.scheme() == "http" {
            // No certificates are needed, and an image without any must not fail here.
            builder = builder.tls_certs_only([]);
        }
        let mut base = base.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self {
            http: builder.build()?,
            base,
        })
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        self.base.join(path).map_err(|_| {
            Failure::new(
                FailureType::PaymentRefused,
                "the gateway's address is wrong",
            )
        })
    }

    /// Charges once per key.
    pub async fn charge(&self, key: &str, request: &PaymentRequest) -> Result<Payment, Failure> {
        let body = ChargeBody {
            order_id: &request.order_id,
            amount: request.amount,
            currency: &request.currency,
            card: request.card.as_ref().map(crate::order::CardToken::expose),
        };
        let response = self
            .http
            .post(self.url("charge")?)
            .header(IDEMPOTENCY_HEADER, key)
            .json(&body)
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        let response = check(response)?;
        let answer: ChargeAnswer = response.json().await.map_err(|error| unavailable(&error))?;
        payment_of(answer, request, false).ok_or_else(|| {
            Failure::new(
                FailureType::PaymentUnavailable,
                "the gateway's answer is not a charge",
            )
        })
    }

    /// Asks what became of a key; if nothing did, voids it and asks no more.
    ///
    /// Every failure is retryable: settling goes on until there is an answer.
    pub async fn settle(&self, key: &str, request: &PaymentRequest) -> Result<Settlement, Failure> {
        let asked = self
            .http
            .get(self.url(&format!("charges/{key}"))?)
            .send()
            .await;
        let response = asked.map_err(|error| unavailable(&error))?;
        if response.status().is_success() {
            let answer: ChargeAnswer =
                response.json().await.map_err(|error| unavailable(&error))?;
            if let Some(settlement) = settlement_of(answer, request) {
                return Ok(settlement);
            }
        } else if response.status() != StatusCode::NOT_FOUND {
            return Err(unsettled(&response));
        }
        // The gateway decides: a charge that arrived in between wins over the void.
        let voided = self
            .http
            .post(self.url(&format!("charges/{key}/void"))?)
            .send()
            .await;
        let response = voided.map_err(|error| unavailable(&error))?;
        if !response.status().is_success() {
            return Err(unsettled(&response));
        }
        let answer: ChargeAnswer = response.json().await.map_err(|error| unavailable(&error))?;
        settlement_of(answer, request).ok_or_else(|| {
            Failure::new(
                FailureType::PaymentUnavailable,
                "the key could not be voided yet",
            )
        })
    }
}

fn payment_of(answer: ChargeAnswer, request: &PaymentRequest, settled: bool) -> Option<Payment> {
    if answer.status != "charged" {
        return None;
    }
    Some(Payment {
        charge_id: answer.charge_id?,
        amount: answer.amount.unwrap_or(request.amount),
        settled,
    })
}

fn settlement_of(answer: ChargeAnswer, request: &PaymentRequest) -> Option<Settlement> {
    match answer.status.as_str() {
        "declined" => Some(Settlement::Declined),
        "voided" => Some(Settlement::Voided),
        _ => payment_of(answer, request, true).map(Settlement::Charged),
    }
}

fn unsettled(response: &Response) -> Failure {
    let kind = match response.status() {
        StatusCode::TOO_MANY_REQUESTS => FailureType::PaymentRateLimited,
        _ => FailureType::PaymentUnavailable,
    };
    let code = response.status().as_u16();
    Failure::new(
        kind,
        format!("the gateway answered {code} when asked for the charge"),
    )
    .retry_after(retry_after(response))
}

/// The classification of every answer that is not a success.
fn check(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let code = status.as_u16();
    Err(match code {
        402 => Failure::new(FailureType::PaymentDeclined, DECLINED_MESSAGE),
        429 => Failure::new(
            FailureType::PaymentRateLimited,
            "the gateway answered 429 and asks to slow down",
        )
        .retry_after(retry_after(&response)),
        408 | 425 => Failure::new(
            FailureType::PaymentUnavailable,
            format!("the gateway answered {code} and may be asked again"),
        ),
        500.. => Failure::new(
            FailureType::PaymentUnavailable,
            format!("the gateway answered {code}"),
        )
        .retry_after(retry_after(&response)),
        _ => Failure::new(
            FailureType::PaymentRefused,
            format!("the gateway refused the request with {code}"),
        ),
    })
}

/// What `Retry-After` asks for, if it can be read.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    delay(value.trim(), Timestamp::now())
}

/// Seconds, or a date (RFC 9110, section 10.2.3), capped. A date that has passed asks for nothing.
fn delay(value: &str, now: Timestamp) -> Option<Duration> {
    let asked = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        Duration::try_from(at.duration_since(now)).ok()?
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

/// No answer: timeout, refused connection, broken answer. Never prints the URL, which may hold
/// credentials.
fn unavailable(error: &reqwest::Error) -> Failure {
    let what = if error.is_timeout() {
        "did not answer in time"
    } else if error.is_connect() {
        "cannot be reached"
    } else {
        "broke off its answer"
    };
    Failure::new(
        FailureType::PaymentUnavailable,
        format!("the gateway {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stable_and_safe_whatever_the_workflow_id() {
        assert_eq!(
            idempotency_key("order-test-1", "test-1"),
            "order-test-1-charge"
        );
        assert_eq!(
            idempotency_key("a/b c?ü", "d"),
            "a~2Fb~20c~3F~C3~BC~~d-charge"
        );
        assert_ne!(idempotency_key("a/b", "c"), idempotency_key("a~2Fb", "c"));
        assert_ne!(
            idempotency_key("order-a", "a"),
            idempotency_key("order-a", "b")
        );
    }

    #[test]
    fn a_wish_for_later_is_read_as_seconds_and_as_a_date() {
        let now: Timestamp = "2026-11-06T08:49:37Z".parse().unwrap();
        let delay = |value| delay(value, now);
        assert_eq!(delay("7"), Some(Duration::from_secs(7)));
        let date = "Fri, 06 Nov 2026 08:50:37 GMT";
        assert_eq!(delay(date), Some(Duration::from_mins(1)));
        assert_eq!(delay("Fri, 06 Nov 2026 08:49:36 GMT"), None);
        assert_eq!(
            delay("Fri, 06 Nov 2099 08:49:36 GMT"),
            Some(LONGEST_RETRY_AFTER)
        );
        assert_eq!(delay("soon"), None);
    }
}
