//! `OrderWorkflow`: create → reserve → pay → notify, and the way back. Deterministic: no clock, no
//! randomness, no I/O; everything outside is an activity. A change of the order of commands breaks
//! running workflows: the replay tests of recorded histories catch it.
//!
//! What is undone is registered *before* the step that does it, because a step that timed out may
//! have taken effect. All undoing is idempotent, waits until the cancelled step has really ended,
//! runs detached from the workflow's own cancellation, and is retried until it is done.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the handlers"
)]

mod attributes;
mod input;
mod mails;
mod options;
mod reasons;

pub use attributes::ORDER_STATE;
pub use input::{SentOrder, Words};

use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityExecutionError, ApplicationFailure, SyncWorkflowContext, WorkflowContext,
    WorkflowContextView, WorkflowResult, WorkflowTermination, workflows::select,
};

use crate::activities::{
    CancelOrder, CountMails, CreateOrder, InventoryActivities, MailReport, Mailing,
    NotificationActivities, OrderActivities, PaymentActivities, PaymentRequest, ReleaseInventory,
    Reservation, Settlement,
};
use crate::failure::{self, FailureType};
use crate::order::{Notification, Order, OrderResult, OrderState, Payment, Reason};

/// The workflow of one order. Registered as `OrderWorkflow`.
///
/// Query `state` gives [`OrderStatus`]; signal or update `cancel_order` cancels before payment;
/// cancelling the workflow does the same and ends it as Canceled.
#[workflow]
#[derive(Default)]
pub struct OrderWorkflow {
    order_id: String,
    state: OrderState,
    reason: Option<Reason>,
    cancel_requested: Option<String>,
}

/// The answer of the query `state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// The order's id; empty until the workflow's first task.
    pub order_id: String,
    /// Where it stands.
    pub state: OrderState,
    /// Why it is being undone, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

#[workflow_methods]
impl OrderWorkflow {
    /// Runs one order to its end.
    ///
    /// Ends as Completed with a result (`completed`, `declined`, `out_of_stock`, `cancelled`), as
    /// Failed with the failure's type when the order itself is wrong or a step failed for a
    /// technical reason, and as Canceled when the workflow was cancelled before payment.
    #[run(name = "OrderWorkflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: SentOrder,
    ) -> WorkflowResult<OrderResult> {
        match input.0.parse() {
            Ok(order) => {
                ctx.state_mut(|s| s.order_id.clone_from(&order.order_id));
                Placement::new(ctx.clone(), order).run().await
            }
            Err(invalid) => {
                let reason = invalid.reason();
                ctx.state_mut(|s| {
                    s.state = OrderState::Failed;
                    s.reason = Some(reason);
                });
                Err(invalid.into_application().into())
            }
        }
    }

    /// Where the order stands.
    #[query(name = "state")]
    pub fn state(&self, _ctx: &WorkflowContextView) -> OrderStatus {
        OrderStatus {
            order_id: self.order_id.clone(),
            state: self.state,
            reason: self.reason.clone(),
        }
    }

    /// Asks to cancel the order; has no effect once it is being paid.
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

    /// Cancels the order before payment; refused once it is being paid. Answers with the order's
    /// id.
    #[update(name = "cancel_order")]
    pub fn cancel_order(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: Words) -> String {
        self.request_cancellation(reason);
        self.order_id.clone()
    }

    fn can_be_cancelled(&self) -> bool {
        match self.state {
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
            | OrderState::Failed => false,
        }
    }

    fn request_cancellation(&mut self, reason: Words) {
        if self.can_be_cancelled() && self.cancel_requested.is_none() {
            self.cancel_requested = Some(reason.0);
        }
    }
}

/// Why an order stops before it is paid.
enum Stop {
    /// A business answer: the workflow completes with this state.
    Refused(OrderState, Reason),
    /// A technical failure: the workflow fails.
    Failed(Reason),
    /// The workflow was cancelled.
    Cancelled(Reason),
}

impl Stop {
    fn reason(&self) -> &Reason {
        match self {
            Self::Refused(_, reason) | Self::Failed(reason) | Self::Cancelled(reason) => reason,
        }
    }
}

/// What may have happened and must be undone, in the order in which it was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    CancelOrder,
    ReleaseInventory,
}

/// One run of one order.
struct Placement {
    ctx: WorkflowContext<OrderWorkflow>,
    order: Order,
    undo: Vec<Undo>,
}

impl Placement {
    fn new(ctx: WorkflowContext<OrderWorkflow>, order: Order) -> Self {
        Self {
            ctx,
            order,
            undo: Vec::new(),
        }
    }

    async fn run(mut self) -> WorkflowResult<OrderResult> {
        match self.place().await {
            Ok(payment) => Ok(self.notify(payment).await),
            Err(stop) => {
                self.compensate(stop.reason()).await;
                self.end(stop)
            }
        }
    }

    /// Every step up to the payment.
    async fn place(&mut self) -> Result<Payment, Stop> {
        self.create().await?;
        self.reserve().await?;
        self.cancel_window().await?;
        self.pay().await
    }

    fn enter(&self, state: OrderState) {
        self.ctx.state_mut(|s| s.state = state);
        if self.order.search_attributes {
            self.ctx
                .upsert_search_attributes(attributes::to_state(state));
        }
    }

    async fn create(&mut self) -> Result<(), Stop> {
        self.enter(OrderState::Creating);
        self.undo.push(Undo::CancelOrder);
        let input = CreateOrder {
            order_id: self.order.order_id.clone(),
            total: self.order.total,
            currency: self.order.currency.clone(),
        };
        self.ctx
            .execute_activity(OrderActivities::create_order, input, options::step(None))
            .await
            .map_err(|error| self.stop(&error))
    }

    async fn reserve(&mut self) -> Result<(), Stop> {
        self.stop_if_asked()?;
        self.enter(OrderState::Reserving);
        self.undo.push(Undo::ReleaseInventory);
        let input = Reservation {
            order_id: self.order.order_id.clone(),
            items: self.order.items.clone(),
        };
        let queue = self.order.task_queues.inventory.as_deref();
        self.ctx
            .execute_activity(
                InventoryActivities::reserve_inventory,
                input,
                options::step(queue),
            )
            .await
            .map_err(|error| self.stop(&error))
    }

    /// Leaves the customer time to think again, if the order says so.
    async fn cancel_window(&self) -> Result<(), Stop> {
        if self.order.cancel_window_seconds > 0 {
            self.enter(OrderState::Waiting);
            let window = std::time::Duration::from_secs(self.order.cancel_window_seconds);
            select! {
                _ = self.ctx.timer(window) => {}
                _ = self.ctx.wait_condition(|s| s.cancel_requested.is_some()) => {}
            }
        }
        self.stop_if_asked()
    }

    fn stop_if_asked(&self) -> Result<(), Stop> {
        let token = self.ctx.cancellation_token();
        if token.is_cancelled() {
            return Err(Stop::Cancelled(reasons::cancelled_by_request(
                token.reason(),
            )));
        }
        match self.ctx.state(|s| s.cancel_requested.clone()) {
            None => Ok(()),
            Some(message) => Err(Stop::Refused(
                OrderState::Cancelled,
                Reason::in_words(FailureType::CancelledByCustomer, &message),
            )),
        }
    }

    async fn pay(&mut self) -> Result<Payment, Stop> {
        self.enter(OrderState::Paying);
        let request = PaymentRequest {
            order_id: self.order.order_id.clone(),
            amount: self.order.total,
            currency: self.order.currency.clone(),
            card: self.order.card.clone(),
        };
        let queue = self.order.task_queues.payments.clone();
        let paid = self
            .ctx
            .execute_activity(
                PaymentActivities::process_payment,
                request.clone(),
                options::payment(queue.as_deref()),
            )
            .await;
        let stop = match paid {
            Ok(payment) => return Ok(payment),
            Err(error) => self.stop(&error),
        };
        // Declined is an answer. Everything else leaves open whether money moved.
        if failure::is(stop.reason(), FailureType::PaymentDeclined) {
            return Err(stop);
        }
        self.enter(OrderState::Settling);
        let settled = self
            .ctx
            .execute_activity(
                PaymentActivities::settle_payment,
                request,
                options::until_done(queue.as_deref()),
            )
            .await;
        match settled {
            Ok(Settlement::Charged(payment)) => Ok(payment),
            Ok(Settlement::Declined) => {
                Err(Stop::Refused(OrderState::Declined, reasons::declined()))
            }
            Ok(Settlement::Voided) => Err(stop),
            Err(error) => Err(Stop::Failed(failure::reason_of(&error))),
        }
    }

    /// Mails the recipients. The order is paid: whatever happens here is only reported.
    async fn notify(&self, payment: Payment) -> OrderResult {
        let notification = if self.order.recipients.is_empty() {
            Notification::default()
        } else {
            self.enter(OrderState::Notifying);
            let mailing = Mailing {
                order_id: self.order.order_id.clone(),
                recipients: self.order.recipients.clone(),
                subject: self.order.subject.clone(),
                body: self.order.body.clone(),
            };
            let queue = self.order.task_queues.notifications.as_deref();
            let options = options::notification(queue, self.order.recipients.len());
            let report = self
                .ctx
                .execute_activity(NotificationActivities::send_notification, mailing, options)
                .await;
            match report {
                Ok(report) => mails::notification_of(report),
                Err(error) => {
                    // Before it is counted: a cancellation that comes then stops nothing.
                    let cancelled = self.was_cancelled(&error);
                    let counted = self.count_mails().await;
                    mails::notification_of_unfinished(&error, cancelled, &counted)
                }
            }
        };
        self.enter(OrderState::Completed);
        OrderResult {
            payment: Some(payment),
            notification,
            ..self.result(OrderState::Completed)
        }
    }

    /// What was sent before the mailing was given up; nothing, if that cannot be learned.
    async fn count_mails(&self) -> MailReport {
        // Orders that began before this existed go on without it.
        if !self.ctx.patched("count-mails") {
            return MailReport::default();
        }
        let order_id = self.order.order_id.clone();
        let options = options::count(self.order.task_queues.notifications.as_deref());
        self.ctx
            .execute_activity(
                NotificationActivities::count_mails,
                CountMails { order_id },
                options,
            )
            .await
            .unwrap_or_default()
    }

    /// Undoes, last step first.
    async fn compensate(&mut self, reason: &Reason) {
        self.enter(OrderState::Compensating);
        self.ctx.state_mut(|s| s.reason = Some(reason.clone()));
        while let Some(step) = self.undo.pop() {
            let order_id = self.order.order_id.clone();
            let undone = match step {
                Undo::ReleaseInventory => {
                    let queue = self.order.task_queues.inventory.as_deref();
                    self.ctx
                        .execute_activity(
                            InventoryActivities::release_inventory,
                            ReleaseInventory { order_id },
                            options::until_done(queue),
                        )
                        .await
                }
                Undo::CancelOrder => {
                    self.ctx
                        .execute_activity(
                            OrderActivities::cancel_order_activity,
                            CancelOrder {
                                order_id,
                                reason: reason.clone(),
                            },
                            options::until_done(None),
                        )
                        .await
                }
            };
            if let Err(error) = undone
                && !self.ctx.is_replaying()
            {
                // Only a failure that forbids a retry ends here; there is none today.
                tracing::error!(step = ?step, %error, "compensation ended without success");
            }
        }
    }

    fn end(&self, stop: Stop) -> WorkflowResult<OrderResult> {
        match stop {
            Stop::Refused(state, reason) => {
                self.enter(state);
                Ok(OrderResult {
                    reason: Some(reason),
                    ..self.result(state)
                })
            }
            Stop::Failed(reason) => {
                self.enter(OrderState::Failed);
                let result = OrderResult {
                    reason: Some(reason.clone()),
                    ..self.result(OrderState::Failed)
                };
                Err(ApplicationFailure::builder(reason.message)
                    .type_name(reason.kind)
                    .non_retryable(true)
                    .details(result)
                    .build()
                    .into())
            }
            Stop::Cancelled(reason) => {
                self.enter(OrderState::Cancelled);
                let result = OrderResult {
                    reason: Some(reason),
                    ..self.result(OrderState::Cancelled)
                };
                Err(WorkflowTermination::cancelled_with_details(result))
            }
        }
    }

    /// What a failed step means for the order.
    fn stop(&self, error: &ActivityExecutionError) -> Stop {
        if self.was_cancelled(error) {
            return Stop::Cancelled(reasons::cancelled_by_request(
                self.ctx.cancellation_token().reason(),
            ));
        }
        let reason = failure::reason_of(error);
        let state = [
            (FailureType::PaymentDeclined, OrderState::Declined),
            (FailureType::OutOfStock, OrderState::OutOfStock),
            (FailureType::UnknownSku, OrderState::OutOfStock),
        ]
        .into_iter()
        .find(|(kind, _)| failure::is(&reason, *kind))
        .map(|(_, state)| state);
        match state {
            Some(state) => Stop::Refused(state, reason),
            None => Stop::Failed(reason),
        }
    }

    /// Whether a step ended because the workflow was cancelled. Temporal does not try a step again
    /// that it has asked to stop, so that is also why one ended that may pass when tried again.
    fn was_cancelled(&self, error: &ActivityExecutionError) -> bool {
        let cancelled = self.ctx.cancellation_token().is_cancelled();
        error.as_cancelled().is_some() || cancelled && failure::may_pass(error)
    }

    fn result(&self, state: OrderState) -> OrderResult {
        OrderResult {
            order_id: self.order.order_id.clone(),
            state,
            total: self.order.total,
            currency: self.order.currency.clone(),
            payment: None,
            notification: Notification::default(),
            reason: None,
        }
    }
}
