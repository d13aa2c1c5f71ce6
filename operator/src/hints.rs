//! `POST /hints/{namespace}/{fleet}/{queue}`: a client reports that a queue has work, so the
//! operator reads it now. Asks the API server who the caller is and whether it may send hints;
//! writes nothing.
//!
//! The caller presents a ServiceAccount token issued for the audience [`AUDIENCE`]. The API server
//! itself rejects such a token, so a stolen one is good for hints and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::{Mutex, MutexGuard};
use taskqueue_kubernetes::kube_error;
use taskqueue_scaling::Time;
use taskqueue_temporal::{Budget, BudgetLimits, OwnerKey};
use tracing::warn;

use crate::clock::Clock;

/// The audience that a caller's token must be issued for.
pub const AUDIENCE: &str = "taskqueue.dev";
/// How long a valid token is accepted without another TokenReview.
const TRUSTED: Duration = Duration::from_secs(10);
/// Maximum number of tokens to remember.
const MOST_TOKENS: usize = 1024;
/// Maximum length of a token, in bytes. Longer ones are rejected without a TokenReview.
const LONGEST_TOKEN: usize = 16 * 1024;
/// Rate limit of reviews sent to the API server: 50 per second, with bursts of 100. TokenReviews
/// and SubjectAccessReviews are limited separately. Each hint costs one SubjectAccessReview.
const REVIEWS: BudgetLimits = BudgetLimits {
    rate_milli: 50_000,
    burst: 100,
};
/// How long the API server may take to answer.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Delivers a hint to the reader of its queue. Returns false if nothing reads such a queue.
pub type Deliver = dyn Fn(&OwnerKey, &str) -> bool + Send + Sync;

/// State of the endpoint. Cheap to clone.
#[derive(Clone)]
pub struct Hints {
    client: Client,
    clock: Clock,
    deliver: Arc<Deliver>,
    memory: Arc<Mutex<Memory>>,
}

/// Remembered tokens, and the limits on reviews.
struct Memory {
    known: Known,
    /// Limits TokenReviews. Separate from `access`, so that a flood of bad tokens does not shut out
    /// a known sender.
    tokens: Budget,
    /// Limits SubjectAccessReviews.
    access: Budget,
}

impl Hints {
    /// Passes accepted hints to `deliver`.
    pub fn new(client: Client, clock: Clock, deliver: Arc<Deliver>) -> Self {
        let reviews = Budget::new(REVIEWS, clock.now().monotonic.as_millis());
        let memory = Memory {
            known: Known::default(),
            tokens: reviews.clone(),
            access: reviews,
        };
        Self {
            client,
            clock,
            deliver,
            memory: Arc::new(Mutex::new(memory)),
        }
    }

    /// The endpoint as a router, without a socket.
    pub fn router(self) -> Router {
        Router::new()
            .route("/hints/{namespace}/{fleet}/{queue}", post(receive))
            .with_state(self)
    }

    /// Identifies the user behind a token. Valid tokens are remembered for [`TRUSTED`], invalid
    /// ones are not.
    async fn caller(&self, token: &str) -> Result<UserInfo, Refusal> {
        let now = self.clock.now().monotonic;
        {
            let mut memory = self.memory();
            if let Some(user) = memory.known.find(token, now) {
                return Ok(user);
            }
            take_review(&mut memory.tokens, now)?;
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: token.to_owned(),
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let status = answered(reviews.create(&PostParams::default(), &review)).await?;
        let status = status.status.unwrap_or_default();
        // An authenticator that does not support audiences returns none. Its answer does not prove
        // that the token was issued for us.
        let for_this_audience = status
            .audiences
            .is_some_and(|audiences| audiences.iter().any(|audience| audience == AUDIENCE));
        match status.user {
            Some(user) if status.authenticated == Some(true) && for_this_audience => {
                self.memory().known.keep(token, &user, now);
                Ok(user)
            }
            _ => Err(Refusal::Unknown),
        }
    }

    async fn allowed(&self, user: UserInfo, fleet: &OwnerKey) -> Result<(), Refusal> {
        take_review(&mut self.memory().access, self.clock.now().monotonic)?;
        let name = user.username.clone().unwrap_or_default();
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                groups: user.groups,
                uid: user.uid,
                extra: user.extra,
                resource_attributes: Some(ResourceAttributes {
                    group: Some("taskqueue.dev".to_owned()),
                    resource: Some("taskqueueworkers".to_owned()),
                    subresource: Some("hint".to_owned()),
                    verb: Some("update".to_owned()),
                    namespace: Some(fleet.namespace.clone()),
                    name: Some(fleet.name.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = answered(reviews.create(&PostParams::default(), &review)).await?;
        if answer.status.is_some_and(|status| status.allowed) {
            Ok(())
        } else {
            Err(Refusal::Forbidden(name))
        }
    }

    async fn take(
        &self,
        token: Option<&str>,
        fleet: &OwnerKey,
        queue: &str,
    ) -> Result<(), Refusal> {
        let token = token.filter(|token| !token.is_empty() && token.len() <= LONGEST_TOKEN);
        let user = self.caller(token.ok_or(Refusal::Unknown)?).await?;
        self.allowed(user, fleet).await?;
        if (self.deliver)(fleet, queue) {
            Ok(())
        } else {
            Err(Refusal::NoSuchQueue)
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }
}

/// Why a hint is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// The token is missing, invalid, or issued for another audience.
    Unknown,
    /// The user may not send hints to this fleet.
    Forbidden(String),
    /// Nothing reads such a queue.
    NoSuchQueue,
    /// The rate limit of reviews is used up for now.
    TooMany,
    /// The API server failed or did not answer in time.
    NoAnswer,
}

fn take_review(reviews: &mut Budget, now: Time) -> Result<(), Refusal> {
    let taken = reviews.take(1, now.as_millis());
    taken.map_err(|_soon| Refusal::TooMany)
}

/// Awaits one answer of the API server, for at most [`REVIEW_TIMEOUT`].
async fn answered<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
    let why = match tokio::time::timeout(REVIEW_TIMEOUT, answer).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => kube_error::describe(&error),
        Err(_) => "no answer in time".to_owned(),
    };
    warn!(error = why, "cannot verify the sender of a hint");
    Err(Refusal::NoAnswer)
}

/// Valid tokens, each with the time until which it is accepted.
#[derive(Default)]
struct Known(HashMap<String, (Time, UserInfo)>);

impl Known {
    fn find(&self, token: &str, now: Time) -> Option<UserInfo> {
        let (until, user) = self.0.get(token)?;
        (now < *until).then(|| user.clone())
    }

    fn keep(&mut self, token: &str, user: &UserInfo, now: Time) {
        if self.0.len() >= MOST_TOKENS {
            self.0.retain(|_, (until, _)| now < *until);
        }
        // If the map is full of valid tokens, this one is not remembered and is reviewed again next
        // time.
        if self.0.len() < MOST_TOKENS {
            let until = Time::from_millis(
                now.as_millis()
                    .saturating_add(TRUSTED.as_millis().try_into().unwrap_or(u64::MAX)),
            );
            self.0.insert(token.to_owned(), (until, user.clone()));
        }
    }
}

async fn receive(
    State(hints): State<Hints>,
    Path((namespace, name, queue)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let fleet = OwnerKey { namespace, name };
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match hints.take(token, &fleet, &queue).await {
        Ok(()) => (
            StatusCode::ACCEPTED,
            format!("queue {queue} of {fleet} will be read as soon as the call budget allows\n"),
        )
            .into_response(),
        Err(Refusal::Unknown) => (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer")],
            format!(
                "send a ServiceAccount token for the audience {AUDIENCE} as Authorization: Bearer\n"
            ),
        )
            .into_response(),
        Err(Refusal::Forbidden(user)) => (
            StatusCode::FORBIDDEN,
            format!(
                "{user} may not update taskqueueworkers/hint of {fleet}; grant it with a Role\n"
            ),
        )
            .into_response(),
        Err(Refusal::NoSuchQueue) => (
            StatusCode::NOT_FOUND,
            format!("the operator reads no queue {queue} of a TaskQueueWorker {fleet}\n"),
        )
            .into_response(),
        Err(Refusal::TooMany) => (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, "1")],
            "too many hints at once; try again in a second\n".to_owned(),
        )
            .into_response(),
        Err(Refusal::NoAnswer) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server cannot verify the sender now; try again\n".to_owned(),
        )
            .into_response(),
    }
}

#[cfg(test)]
mod tests;
