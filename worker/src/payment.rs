//! The client of the payment gateway: what is sent, and what each answer means. HTTP only; knows
//! no database and no Temporal.

use std::time::Duration;

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
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(5);

/// The key of an order's charge: the same for every attempt and for the settlement, and safe in
/// a header and in a path whatever characters the workflow id has.
pub fn idempotency_key(workflow_id: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut key = String::with_capacity(workflow_id.len() + 7);
    for byte in workflow_id.bytes() {
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
    key.push_str("-charge");
    key
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
            return Err(unsettled(response.status()));
        }
        // The gateway decides: a charge that arrived in between wins over the void.
        let voided = self
            .http
            .post(self.url(&format!("charges/{key}/void"))?)
            .send()
            .await;
        let response = voided.map_err(|error| unavailable(&error))?;
        if !response.status().is_success() {
            return Err(unsettled(response.status()));
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

fn unsettled(status: StatusCode) -> Failure {
    Failure::new(
        FailureType::PaymentUnavailable,
        format!(
            "the gateway answered {} when asked for the charge",
            status.as_u16()
        ),
    )
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

/// `Retry-After` in seconds, capped. The form with a date is rare and left to the backoff.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
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
        assert_eq!(idempotency_key("order-test-1"), "order-test-1-charge");
        assert_eq!(idempotency_key("a/b c?ü"), "a~2Fb~20c~3F~C3~BC-charge");
        assert_ne!(idempotency_key("a/b"), idempotency_key("a~2Fb"));
    }
}
