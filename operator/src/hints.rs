//! `POST /hints/{namespace}/{fleet}/{queue}`: somebody knows that a queue has got work, so it is
//! read now. Asks the API server who calls and whether that is allowed; changes nothing itself.
//!
//! The caller shows a ServiceAccount token made for the audience [`AUDIENCE`]. The API server
//! itself refuses such a token, so one that is caught on the way is worth a hint and nothing else.

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
use taskqueue_scaling::Time;
use taskqueue_temporal::{Budget, BudgetLimits, OwnerKey};
use tracing::warn;

use crate::clock::Clock;
use crate::kube_error;

/// The audience that a caller's token must be made for.
pub const AUDIENCE: &str = "taskqueue.dev";
/// How long a token that was found good is taken without asking again.
const TRUSTED: Duration = Duration::from_secs(10);
/// The most tokens that are remembered.
const MOST_TOKENS: usize = 1024;
/// The longest token that is looked at.
const LONGEST_TOKEN: usize = 16 * 1024;
/// The most questions to the API server: 50 a second, 100 at once after a quiet while; for who
/// shows a token, and as many for whether somebody may. Each hint is one question of the second
/// kind.
const QUESTIONS: BudgetLimits = BudgetLimits {
    rate_milli: 50_000,
    burst: 100,
};
/// The API server has this long to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Passes a hint on; false if nobody watches such a queue.
pub type Tell = dyn Fn(&OwnerKey, &str) -> bool + Send + Sync;

/// What the endpoint needs. Cheap to clone.
#[derive(Clone)]
pub struct Hints {
    client: Client,
    clock: Clock,
    tell: Arc<Tell>,
    memory: Arc<Mutex<Memory>>,
}

/// The known senders, and the limits of what is asked about them.
struct Memory {
    known: Known,
    /// Limits TokenReviews. Apart from the other limit, so that a flood of bad tokens does not keep
    /// out a known sender.
    tokens: Budget,
    /// Limits SubjectAccessReviews.
    access: Budget,
}

impl Hints {
    /// Passes accepted hints to `tell`.
    pub fn new(client: Client, clock: Clock, tell: Arc<Tell>) -> Self {
        let questions = Budget::new(QUESTIONS, clock.now().monotonic.as_millis());
        let memory = Memory {
            known: Known::default(),
            tokens: questions.clone(),
            access: questions,
        };
        Self {
            client,
            clock,
            tell,
            memory: Arc::new(Mutex::new(memory)),
        }
    }

    /// The endpoint, without a socket.
    pub fn router(self) -> Router {
        Router::new()
            .route("/hints/{namespace}/{fleet}/{queue}", post(receive))
            .with_state(self)
    }

    /// Who shows this token. Good tokens are remembered for a moment, bad ones are not.
    async fn caller(&self, token: &str) -> Result<UserInfo, Refusal> {
        let now = self.clock.now().monotonic;
        {
            let mut memory = self.memory();
            if let Some(user) = memory.known.find(token, now) {
                return Ok(user);
            }
            ask_once(&mut memory.tokens, now)?;
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
        // An authenticator that does not know audiences says none: its word is not enough.
        let meant = status
            .audiences
            .is_some_and(|audiences| audiences.iter().any(|audience| audience == AUDIENCE));
        match status.user {
            Some(user) if status.authenticated == Some(true) && meant => {
                self.memory().known.keep(token, &user, now);
                Ok(user)
            }
            _ => Err(Refusal::Unknown),
        }
    }

    async fn allowed(&self, user: UserInfo, fleet: &OwnerKey) -> Result<(), Refusal> {
        ask_once(&mut self.memory().access, self.clock.now().monotonic)?;
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
        if (self.tell)(fleet, queue) {
            Ok(())
        } else {
            Err(Refusal::NoSuchQueue)
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }
}

/// Why a hint is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// No token, or one that is not good for this.
    Unknown,
    /// The user may not.
    Forbidden(String),
    /// Nobody watches such a queue.
    NoSuchQueue,
    /// The API server was asked often enough for now.
    TooMany,
    /// The API server does not say.
    NoAnswer,
}

fn ask_once(questions: &mut Budget, now: Time) -> Result<(), Refusal> {
    let taken = questions.take(1, now.as_millis());
    taken.map_err(|_soon| Refusal::TooMany)
}

/// One answer of the API server.
async fn answered<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
    let why = match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => kube_error::describe(&error),
        Err(_) => "no answer in time".to_owned(),
    };
    warn!(error = why, "the sender of a hint cannot be checked");
    Err(Refusal::NoAnswer)
}

/// Good tokens, and until when they are taken.
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
        // Full of good ones: this one is asked about again.
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
            format!("queue {queue} of {fleet} is read as soon as the call budget allows\n"),
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
            format!("no queue {queue} of a TaskQueueWorker {fleet} is being read\n"),
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
            "the API server does not say who sends this; try again\n".to_owned(),
        )
            .into_response(),
    }
}

#[cfg(test)]
mod tests;
