//! The client of the payment gateway: what it sends, and what each answer means. HTTP only; knows
//! neither the database nor Temporal.

mod answer;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde_json::Value;

use crate::domain::failure::{Failure, FailureType};
use crate::domain::order::Payment;
use crate::domain::order::messages::{PaymentRequest, Settlement};
use answer::Says;

/// The message of a declined payment.
pub const DECLINED_MESSAGE: &str = "Payment declined";
/// The header by which the gateway recognizes a repeated request.
pub const IDEMPOTENCY_HEADER: &str = "Idempotency-Key";

/// Timeout of one request. After a timeout the outcome is unknown until it is settled.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Status codes which mean that the gateway did not process the request at all. 409 and 422 are not
/// among them: they may refer to an earlier charge.
const UNTAKEN: [u16; 10] = [400, 401, 403, 404, 405, 406, 411, 413, 414, 415];
/// Upper limit for `Retry-After`; longer values are cut to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The idempotency key of an order's charge. It is the same for every attempt and for the
/// settlement, and different for every other order or workflow. It is safe in a header and in a
/// path, whatever characters the ids contain. If the workflow id is derived from the order id
/// (`order-ID`), the workflow id alone is the key.
pub fn idempotency_key(workflow_id: &str, order_id: &str) -> String {
    let mut key = String::with_capacity(workflow_id.len() + order_id.len() + 9);
    append_escaped(&mut key, workflow_id);
    if workflow_id.strip_prefix("order-") != Some(order_id) {
        // An escaped text never contains two consecutive tildes.
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

/// The body of `POST /charge`. The card is a token and is never printed.
#[derive(Serialize)]
struct ChargeBody<'a> {
    order_id: &'a str,
    amount: i64,
    currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<&'a str>,
}

/// The gateway's reply to a request that it need not support.
enum Reply {
    /// A JSON body.
    Json(Value),
    /// The gateway does not support the request; what it answered instead.
    NotOffered(String),
}

/// A client with a connection pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GatewayClient {
    http: reqwest::Client,
    base: Url,
}

impl GatewayClient {
    /// Creates a client for the gateway at `base`. The process's TLS provider must be installed.
    pub fn new(base: &Url) -> Result<Self, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .redirect(
                // A redirected POST would become a GET, or charge at somebody else's gateway.
                reqwest::redirect::Policy::none(),
            );
        if base.scheme() == "http" {
            // HTTP needs no certificates, and the client must work in an image without any.
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

    /// Charges once per key, if the gateway honours the key. Any success in JSON counts as a
    /// charge, unless the body says otherwise.
    pub async fn charge(&self, key: &str, request: &PaymentRequest) -> Result<Payment, Failure> {
        let body = ChargeBody {
            order_id: &request.order_id,
            amount: request.amount,
            currency: &request.currency,
            card: request
                .card
                .as_ref()
                .map(crate::domain::order::CardToken::expose),
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
        let code = response.status().as_u16();
        let body = response
            .bytes()
            .await
            .map_err(|error| unavailable(&error))?;
        let answer: Value = serde_json::from_slice(&body).map_err(|_| {
            Failure::new(
                FailureType::PaymentUnavailable,
                format!("the gateway answered {code} without JSON"),
            )
        })?;
        match Says::of(&answer) {
            Says::Charged | Says::Nothing => Ok(answer::payment(&answer, key, request, false)),
            Says::Declined => Err(Failure::new(FailureType::PaymentDeclined, DECLINED_MESSAGE)),
            Says::Voided => Err(Failure::new(
                FailureType::PaymentRefused,
                "the gateway says that this charge was voided",
            )),
            Says::Undecided => Err(Failure::new(
                FailureType::PaymentUnavailable,
                format!("the gateway answered {code}, but says that it did not charge"),
            )),
        }
    }

    /// Looks up the charge of a key. If there is none, voids the key, so that no charge can follow.
    ///
    /// Fails with `PaymentUnsettled` if the gateway neither knows a charge of this key nor supports
    /// voiding. All other failures are transient.
    pub async fn settle(&self, key: &str, request: &PaymentRequest) -> Result<Settlement, Failure> {
        let look_up = self.http.get(self.url(&format!("charges/{key}"))?);
        let looked_up = ask(look_up).await?;
        if let Reply::Json(answer) = &looked_up
            && let Some(settlement) = answer::settlement(answer, key, request)
        {
            return Ok(settlement);
        }
        // The gateway decides: a charge that arrived since the lookup wins over the void.
        let void = self.http.post(self.url(&format!("charges/{key}/void"))?);
        let not_offered = match ask(void).await? {
            Reply::Json(answer) => match answer::settlement(&answer, key, request) {
                Some(settlement) => return Ok(settlement),
                None if Says::of(&answer) == Says::Undecided => {
                    return Err(Failure::new(
                        FailureType::PaymentUnavailable,
                        "the key could not be voided yet",
                    ));
                }
                None => "an answer without a status".to_owned(),
            },
            Reply::NotOffered(what) => what,
        };
        let known = match looked_up {
            Reply::Json(_) => "does not say whether it was charged".to_owned(),
            Reply::NotOffered(what) => format!("knows of no charge ({what})"),
        };
        Err(Failure::new(
            FailureType::PaymentUnsettled,
            format!(
                "the gateway {known} and cannot void it ({not_offered}): look there for order {} under the key {key}",
                request.order_id
            ),
        ))
    }
}

/// Sends a request that a gateway need not support.
async fn ask(request: RequestBuilder) -> Result<Reply, Failure> {
    let response = request.send().await.map_err(|error| unavailable(&error))?;
    let status = response.status();
    let not_offered = [
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::GONE,
        StatusCode::NOT_IMPLEMENTED,
    ];
    if not_offered.contains(&status) {
        return Ok(Reply::NotOffered(status.as_u16().to_string()));
    }
    if !status.is_success() {
        return Err(unsettled(&response));
    }
    let body = response
        .bytes()
        .await
        .map_err(|error| unavailable(&error))?;
    // Some servers answer every path with a web page, for example.
    let without = || Reply::NotOffered(format!("{} without JSON", status.as_u16()));
    Ok(serde_json::from_slice(&body).map_or_else(|_| without(), Reply::Json))
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

/// Classifies every answer that is not a success.
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
        _ => Failure {
            uncharged: UNTAKEN.contains(&code),
            ..Failure::new(
                FailureType::PaymentRefused,
                format!("the gateway refused the request with {code}"),
            )
        },
    })
}

/// The pause that `Retry-After` asks for, if it can be parsed.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    delay(value.trim(), Timestamp::now())
}

/// Parses seconds or a date (RFC 9110, section 10.2.3), up to the limit. A date in the past gives
/// `None`.
fn delay(value: &str, now: Timestamp) -> Option<Duration> {
    let asked = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        Duration::try_from(at.duration_since(now)).ok()?
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

/// Classifies a request without an answer: timeout, refused connection, broken answer. Never prints
/// the URL, which may contain credentials.
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
