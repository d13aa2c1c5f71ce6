//! A payment gateway over HTTP: what the client sends, and what each answer means.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde_json::Value;

use crate::domain::failure::{Failure, FailureType};
use crate::domain::order::Payment;
use crate::domain::order::messages::PaymentRequest;

use super::answer::{self, ChargeStatus};
use super::gateway::{DECLINED_MESSAGE, PaymentGateway, Report};

/// The header by which the gateway recognizes a repeated request.
pub const IDEMPOTENCY_HEADER: &str = "Idempotency-Key";

/// Timeout of one request. After a timeout the outcome is unknown until it is settled.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Status codes which mean that the gateway did not process the request at all. 409 and 422 are not
/// among them: they may refer to an earlier charge.
const UNTAKEN: [u16; 10] = [400, 401, 403, 404, 405, 406, 411, 413, 414, 415];
/// Upper limit for `Retry-After`; longer values are cut to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The body of `POST /charge`. The card is a token and is never printed.
#[derive(Serialize)]
struct ChargeBody<'a> {
    order_id: &'a str,
    amount: i64,
    currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<&'a str>,
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

    async fn post_charge(&self, key: &str, request: &PaymentRequest) -> Result<Payment, Failure> {
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
        match ChargeStatus::of(&answer) {
            ChargeStatus::Charged | ChargeStatus::Unrecognized => {
                Ok(answer::payment(&answer, key, request, false))
            }
            ChargeStatus::Declined => {
                Err(Failure::new(FailureType::PaymentDeclined, DECLINED_MESSAGE))
            }
            ChargeStatus::Voided => Err(Failure::new(
                FailureType::PaymentRefused,
                "the gateway says that this charge was voided",
            )),
            ChargeStatus::Undecided => Err(Failure::new(
                FailureType::PaymentUnavailable,
                format!("the gateway answered {code}, but says that it did not charge"),
            )),
        }
    }
}

impl PaymentGateway for GatewayClient {
    /// Any success in JSON counts as a charge, unless the body says otherwise.
    fn charge<'a>(
        &'a self,
        key: &'a str,
        request: &'a PaymentRequest,
    ) -> BoxFuture<'a, Result<Payment, Failure>> {
        self.post_charge(key, request).boxed()
    }

    fn look_up<'a>(
        &'a self,
        key: &'a str,
        request: &'a PaymentRequest,
    ) -> BoxFuture<'a, Result<Report, Failure>> {
        async move {
            let look_up = self.http.get(self.url(&format!("charges/{key}"))?);
            ask(look_up, key, request).await
        }
        .boxed()
    }

    fn void<'a>(
        &'a self,
        key: &'a str,
        request: &'a PaymentRequest,
    ) -> BoxFuture<'a, Result<Report, Failure>> {
        async move {
            let void = self.http.post(self.url(&format!("charges/{key}/void"))?);
            ask(void, key, request).await
        }
        .boxed()
    }
}

/// Sends a request that a gateway need not support.
async fn ask(
    request: RequestBuilder,
    key: &str,
    payment: &PaymentRequest,
) -> Result<Report, Failure> {
    let response = request.send().await.map_err(|error| unavailable(&error))?;
    let status = response.status();
    let not_offered = [
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::GONE,
        StatusCode::NOT_IMPLEMENTED,
    ];
    if not_offered.contains(&status) {
        return Ok(Report::NotOffered(status.as_u16().to_string()));
    }
    if !status.is_success() {
        return Err(unsettled(&response));
    }
    let body = response
        .bytes()
        .await
        .map_err(|error| unavailable(&error))?;
    // Some servers answer every path with a web page, for example.
    let Ok(answer) = serde_json::from_slice(&body) else {
        return Ok(Report::NotOffered(format!(
            "{} without JSON",
            status.as_u16()
        )));
    };
    Ok(match answer::settlement(&answer, key, payment) {
        Some(settlement) => Report::Settled(settlement),
        None if ChargeStatus::of(&answer) == ChargeStatus::Undecided => Report::Undecided,
        None => Report::Silent,
    })
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
