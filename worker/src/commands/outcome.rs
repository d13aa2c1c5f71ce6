//! Reads the result of an order, however its workflow ended.

use temporalio_client::{WorkflowGetResultOptions, errors::WorkflowGetResultError};
use temporalio_common::error::IncomingError;

use super::client::OrderHandle;
use crate::domain::failure::Reason;
use crate::domain::order::{Notification, OrderResult, OrderState};

/// Waits for the end of an order and returns its result, however its workflow ended.
pub async fn outcome(workflow_id: &str, handle: &OrderHandle) -> anyhow::Result<OrderResult> {
    let error = match handle.get_result(WorkflowGetResultOptions::default()).await {
        Ok(result) => return Ok(result),
        Err(error) => error,
    };
    let reason = match error {
        WorkflowGetResultError::Cancelled { details } => {
            if let Ok(result) = details.deserialize::<OrderResult>() {
                return Ok(result);
            }
            return Ok(ended(
                workflow_id,
                OrderState::Cancelled,
                "Canceled",
                "it was cancelled",
            ));
        }
        WorkflowGetResultError::Failed(failure) => match *failure {
            IncomingError::Application(failure) => {
                // The failure of a placed order carries the whole result.
                if let Ok(Some(result)) = failure.details::<OrderResult>() {
                    return Ok(result);
                }
                Reason {
                    kind: failure
                        .type_name()
                        .unwrap_or("ApplicationFailure")
                        .to_owned(),
                    message: failure.to_string(),
                }
            }
            other => Reason {
                kind: "Failed".to_owned(),
                message: other.to_string(),
            },
        },
        WorkflowGetResultError::Terminated { .. } => {
            return Ok(ended(
                workflow_id,
                OrderState::Failed,
                "Terminated",
                "it was terminated",
            ));
        }
        WorkflowGetResultError::TimedOut => {
            return Ok(ended(
                workflow_id,
                OrderState::Failed,
                "TimedOut",
                "it timed out",
            ));
        }
        other => return Err(anyhow::Error::new(other).context(workflow_id.to_owned())),
    };
    Ok(ended(
        workflow_id,
        OrderState::Failed,
        &reason.kind,
        &reason.message,
    ))
}

fn ended(workflow_id: &str, state: OrderState, kind: &str, message: &str) -> OrderResult {
    OrderResult {
        order_id: workflow_id
            .strip_prefix("order-")
            .unwrap_or(workflow_id)
            .to_owned(),
        state,
        total: 0,
        currency: String::new(),
        payment: None,
        notification: Notification::default(),
        reason: Some(Reason {
            kind: kind.to_owned(),
            message: message.to_owned(),
        }),
    }
}
