//! The heartbeats of a mailing: what they carry from one attempt to the next, and when they are
//! sent. Talks to Temporal through the SDK only.

use std::time::Duration;

use temporalio_client::tonic::IntoRequest as _;
use temporalio_common::data_converters::MultiArgs2;
use temporalio_common::protos::temporal::api::common::v1::{Payload, Payloads};
use temporalio_common::protos::temporal::api::workflowservice::v1::RecordActivityTaskHeartbeatRequest;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::domain::order::messages::MailProgress;

/// Interval of heartbeats while something is slow, well below the heartbeat timeout.
pub(super) const BEAT_INTERVAL: Duration = Duration::from_secs(3);
/// Time limit for asking Temporal why an attempt must stop.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// A heartbeat: a text for people, and how many recipients, counted from the first, need no further
/// work.
pub(super) struct Beat {
    message: String,
    done: usize,
}

impl Beat {
    /// The heartbeat before the mail to the recipient at this index, of `all` recipients.
    pub(super) fn before(index: usize, all: usize, done: usize) -> Self {
        let number = (index + 1).min(all);
        Self {
            message: format!("Sending {number}/{all}"),
            done,
        }
    }

    /// Two payloads, so that the first is the text alone.
    fn details(&self) -> MultiArgs2<String, MailProgress> {
        MultiArgs2(self.message.clone(), MailProgress { done: self.done })
    }

    /// Sends the heartbeat.
    pub(super) async fn record(&self, ctx: &ActivityContext) -> Result<(), ActivityError> {
        ctx.record_heartbeat(self.details()).await?;
        Ok(())
    }

    /// Waits for `work`, and sends the heartbeat while it is slow.
    pub(super) async fn during<T>(
        &self,
        ctx: &ActivityContext,
        work: impl Future<Output = T>,
    ) -> Result<T, ActivityError> {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(BEAT_INTERVAL, &mut work).await {
                return Ok(done);
            }
            self.record(ctx).await?;
        }
    }

    /// Whether Temporal has asked the activity to pause or to begin again, and not to be cancelled.
    ///
    /// The SDK reports all three as a cancellation. But the server refuses to end an attempt as
    /// cancelled unless a cancellation was requested, and would wait for the heartbeat timeout.
    /// Only the answer to a heartbeat tells them apart.
    pub(super) async fn is_paused_or_reset(&self, ctx: &ActivityContext) -> bool {
        let info = ctx.info();
        let payloads = [
            serde_json::to_vec(&self.message),
            serde_json::to_vec(&MailProgress { done: self.done }),
        ];
        let json = |data: Vec<u8>| Payload {
            metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
            data,
            ..Payload::default()
        };
        let payloads = payloads.into_iter().flatten().map(json).collect();
        let mut request = RecordActivityTaskHeartbeatRequest {
            namespace: info.namespace.clone(),
            task_token: info.task_token.clone(),
            details: Some(Payloads { payloads }),
            ..RecordActivityTaskHeartbeatRequest::default()
        }
        .into_request();
        request.set_timeout(ASK_TIMEOUT);
        let mut service = ctx.client().connection().workflow_service();
        match service.record_activity_task_heartbeat(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                !answer.cancel_requested && (answer.activity_paused || answer.activity_reset)
            }
            // It no longer knows the attempt, or cannot be reached.
            Err(status) => {
                tracing::debug!("Temporal does not say why an activity must stop: {status}");
                false
            }
        }
    }
}

/// The progress of the last attempt: the last heartbeat payload that holds it. Earlier versions
/// sent one payload, with the text in the same object.
pub(super) fn done_before(details: &[Payload]) -> usize {
    let progress = |payload: &Payload| serde_json::from_slice::<MailProgress>(&payload.data).ok();
    details
        .iter()
        .rev()
        .find_map(progress)
        .map_or(0, |progress| progress.done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_goes_on_from_the_heartbeat_of_this_version_or_an_earlier_one() {
        let details = |payloads: &[&str]| -> Vec<Payload> {
            let payload = |text: &&str| Payload {
                data: text.as_bytes().to_vec(),
                ..Payload::default()
            };
            payloads.iter().map(payload).collect()
        };
        for (payloads, done) in [
            (&[][..], 0),
            (&[r#""Sending 4/5""#, r#"{"done":2}"#], 2),
            (&[r#"{"message":"Sending 4/5","done":3}"#], 3),
            // From another program, or invalid.
            (&[r#""Sending 4/5""#], 0),
            (&["\u{1}", r#"{"done":-1}"#], 0),
        ] {
            assert_eq!(done_before(&details(payloads)), done, "{payloads:?}");
        }
    }
}
