//! `OrderWorkflow`: check → create → reserve → pay → notify, and compensation. Deterministic: no
//! clock, no randomness, no I/O; all side effects are activities. Changing the order of commands
//! breaks running workflows; the replay tests with recorded histories catch that.
//!
//! What is undone is registered *before* the step that does it, because a step that timed out may
//! have taken effect. All undoing is idempotent, waits until the cancelled step has really ended,
//! is detached from the workflow's own cancellation, and is retried until it succeeds.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the handlers"
)]

mod attributes;
mod input;
mod mails;
mod options;
mod placement;
mod progress;
mod reasons;

pub use attributes::ORDER_STATE;
pub use input::{SentOrder, Words};

use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
};

use crate::domain::activities::OrderActivities;
use crate::domain::failure::{self, Failure, Reason};
use crate::domain::order::{Order, OrderInput, OrderResult, OrderState, TaskQueues};
use placement::Placement;
use progress::Progress;

/// The workflow of one order. Registered as `OrderWorkflow`.
///
/// The query `state` returns [`OrderStatus`]. The signal or update `cancel_order` cancels before
/// payment. Cancelling the workflow does the same and ends it as Canceled.
#[workflow]
#[derive(Default)]
pub struct OrderWorkflow {
    order_id: String,
    progress: Progress,
    /// Default task queues of the activities, from this worker's settings.
    default_queues: TaskQueues,
}

impl OrderWorkflow {
    /// An order whose activities go to these queues unless it names others.
    ///
    /// The queues come from the worker that runs the workflow task, not from the history: on
    /// replay, Temporal compares the type of an activity but not its task queue. So a running order
    /// uses a changed setting from its next step on, and activities that are already scheduled stay
    /// where they are. No other decision of the workflow may depend on the queues.
    pub fn routed(default_queues: TaskQueues) -> Self {
        Self {
            default_queues,
            ..Self::default()
        }
    }
}

impl AsRef<Progress> for OrderWorkflow {
    fn as_ref(&self) -> &Progress {
        &self.progress
    }
}

impl AsMut<Progress> for OrderWorkflow {
    fn as_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

/// The answer of the query `state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// The order's id; empty until the workflow's first task, and if the input has none.
    pub order_id: String,
    /// The current state.
    pub state: OrderState,
    /// The reason for compensation, if the order is being undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

#[workflow_methods]
impl OrderWorkflow {
    /// Runs one order to its end.
    ///
    /// Ends as Completed with a result (`completed`, `declined`, `out_of_stock`, `cancelled`). Ends
    /// as Failed with the failure's type if the order itself is invalid, a step failed for a
    /// technical reason, or the payment cannot be settled. Ends as Canceled if the workflow was
    /// cancelled before payment.
    #[run(name = "OrderWorkflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: SentOrder,
    ) -> WorkflowResult<OrderResult> {
        // For a query or an update that comes before the check.
        let claimed_id = input.0.claimed_id().to_owned();
        ctx.state_mut(|s| s.order_id = claimed_id);
        match check(ctx, input.0).await {
            Ok(mut order) => {
                ctx.state_mut(|s| s.order_id.clone_from(&order.order_id));
                let default_queues = ctx.state(|s| s.default_queues.clone());
                order.task_queues = order.task_queues.or(&default_queues);
                Placement::new(ctx.clone(), order).run().await
            }
            Err(invalid) => {
                ctx.state_mut(|s| {
                    s.progress.state = OrderState::Failed;
                    s.progress.reason = Some(invalid.clone());
                });
                Err(ApplicationFailure::builder(invalid.message)
                    .type_name(invalid.kind)
                    .non_retryable(true)
                    .build()
                    .into())
            }
        }
    }

    /// Returns the state of the order.
    #[query(name = "state")]
    pub fn state(&self, _ctx: &WorkflowContextView) -> OrderStatus {
        OrderStatus {
            order_id: self.order_id.clone(),
            state: self.progress.state,
            reason: self.progress.reason.clone(),
        }
    }

    /// Asks to cancel the order. Has no effect once the payment has begun.
    #[signal(name = "cancel_order")]
    pub fn cancel_order_signal(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: Words) {
        self.request_cancellation(reason);
    }

    #[update_validator(cancel_order)]
    fn validate_cancel_order(
        &self,
        _ctx: &WorkflowContextView,
        _reason: &Words,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.can_be_cancelled() {
            Ok(())
        } else {
            Err(
                "the order can no longer be cancelled: it is being paid, paid, or already ended"
                    .into(),
            )
        }
    }

    /// Cancels the order before payment; refused once the payment has begun. Returns the order's
    /// id.
    #[update(name = "cancel_order")]
    pub fn cancel_order(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: Words) -> String {
        self.request_cancellation(reason);
        self.order_id.clone()
    }

    fn can_be_cancelled(&self) -> bool {
        match self.progress.state {
            OrderState::Received
            | OrderState::Creating
            | OrderState::Reserving
            | OrderState::Waiting => true,
            OrderState::Paying
            | OrderState::Settling
            | OrderState::Notifying
            | OrderState::Completed
            | OrderState::Compensating
            | OrderState::Declined
            | OrderState::OutOfStock
            | OrderState::Cancelled
            | OrderState::Failed
            | OrderState::Unsettled => false,
        }
    }

    fn request_cancellation(&mut self, reason: Words) {
        if self.can_be_cancelled() && self.progress.cancel_requested.is_none() {
            self.progress.cancel_requested = Some(reason.0);
        }
    }
}

/// Checks the order in an activity, so that the history keeps what was accepted. A version with
/// other rules, or with other tables of characters in a crate, replays the order as it was
/// accepted.
async fn check(ctx: &WorkflowContext<OrderWorkflow>, input: OrderInput) -> Result<Order, Reason> {
    if !ctx.patched("check-order") {
        return check_here(ctx, &input).map_err(|invalid| invalid.reason());
    }
    let card = input.claimed_card();
    let checked = ctx
        .execute_activity(OrderActivities::check_order, input, options::check())
        .await;
    match checked {
        Ok(order) => Ok(Order { card, ..order }),
        Err(error) => Err(failure::reason_of(&error)),
    }
}

/// Checks an order that began before `check_order` existed.
fn check_here(ctx: &WorkflowContext<OrderWorkflow>, input: &OrderInput) -> Result<Order, Failure> {
    input
        .parse()
        .or_else(|refused| match input.parse_as_before() {
            // Still earlier versions had milder rules for items.
            Ok((order, _)) if !ctx.patched("refuse-misspelt-fields") => Ok(order),
            _ => Err(refused),
        })
}
