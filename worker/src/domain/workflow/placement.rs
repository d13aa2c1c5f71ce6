//! One run of one order: the steps in order, and compensation. Deterministic, as the whole
//! workflow.

use std::time::UNIX_EPOCH;

use temporalio_sdk::{
    ActivityExecutionError, ApplicationFailure, WorkflowContext, WorkflowResult,
    WorkflowTermination, workflows::select,
};

use super::progress::Progress;
use super::{attributes, mails, options, reasons};
use crate::domain::activities::{
    InventoryActivities, NotificationActivities, OrderActivities, PaymentActivities,
};
use crate::domain::failure::{self, FailureType, Reason};
use crate::domain::order::messages::{
    CancelOrder, CountMails, CreateOrder, MailReport, Mailing, PaymentRequest, ReleaseInventory,
    Reservation, Settlement,
};
use crate::domain::order::{Notification, Order, OrderResult, OrderState, Payment};

/// Why an order stops before it is paid.
enum Stop {
    /// A business outcome: the workflow completes in this state.
    Refused(OrderState, Reason),
    /// A technical failure: the workflow fails.
    Failed(Reason),
    /// The workflow was cancelled.
    Cancelled(Reason),
    /// It is unknown whether the order is paid: the workflow fails, and nothing is undone.
    Unsettled(Reason),
}

impl Stop {
    fn reason(&self) -> &Reason {
        match self {
            Self::Refused(_, reason)
            | Self::Failed(reason)
            | Self::Cancelled(reason)
            | Self::Unsettled(reason) => reason,
        }
    }
}

/// A step that may have taken effect and must be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    CancelOrder,
    ReleaseInventory,
}

impl Undo {
    /// The name of the activity.
    fn activity(self) -> &'static str {
        match self {
            Self::CancelOrder => "cancel_order_activity",
            Self::ReleaseInventory => "release_inventory",
        }
    }
}

/// One run of one order, in a workflow `W` that keeps its progress.
pub(super) struct Placement<W> {
    ctx: WorkflowContext<W>,
    order: Order,
    undo: Vec<Undo>,
}

impl<W: AsRef<Progress> + AsMut<Progress>> Placement<W> {
    pub(super) fn new(ctx: WorkflowContext<W>, order: Order) -> Self {
        Self {
            ctx,
            order,
            undo: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) -> WorkflowResult<OrderResult> {
        match self.place().await {
            Ok(payment) => Ok(self.notify(payment).await),
            Err(stop @ Stop::Unsettled(_)) => self.end(stop),
            Err(stop) => match self.compensate(stop.reason()).await {
                Err(not_undone) if self.ctx.patched("compensation-failed") => {
                    Err(self.fail(OrderState::Failed, not_undone))
                }
                _ => self.end(stop),
            },
        }
    }

    /// All steps up to and including the payment.
    async fn place(&mut self) -> Result<Payment, Stop> {
        self.create().await?;
        self.reserve().await?;
        self.cancel_window().await?;
        self.pay().await
    }

    fn enter(&self, state: OrderState) {
        self.ctx.state_mut(|s| s.as_mut().state = state);
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
            first_run_id: Some(self.ctx.info().first_execution_run_id().to_owned()),
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

    /// Gives the customer time to cancel, if the order has a cancel window.
    async fn cancel_window(&self) -> Result<(), Stop> {
        if self.order.cancel_window_seconds > 0 {
            self.enter(OrderState::Waiting);
            let window = std::time::Duration::from_secs(self.order.cancel_window_seconds);
            select! {
                _ = self.ctx.timer(window) => {}
                _ = self.ctx.wait_condition(|s| s.as_ref().cancel_requested.is_some()) => {}
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
        match self.ctx.state(|s| s.as_ref().cancel_requested.clone()) {
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
            attempts: Some(options::ATTEMPTS),
            asked_since: self.now(),
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
        let error = match paid {
            Ok(payment) => return Ok(payment),
            Err(error) => error,
        };
        let stop = self.stop(&error);
        // The outcome is certain if the payment was declined or the gateway did not process the
        // request. In all other cases the charge may have gone through.
        if failure::is(stop.reason(), FailureType::PaymentDeclined)
            || failure::is_uncharged(&error) && self.ctx.patched("payment-not-taken")
        {
            return Err(stop);
        }
        self.enter(OrderState::Settling);
        let settled = self
            .ctx
            .execute_activity(
                PaymentActivities::settle_payment,
                request,
                options::settlement(queue.as_deref()),
            )
            .await;
        match settled {
            Ok(Settlement::Charged(payment)) => Ok(payment),
            Ok(Settlement::Declined) => {
                Err(Stop::Refused(OrderState::Declined, reasons::declined()))
            }
            Ok(Settlement::Voided) => Err(stop),
            // Nothing is undone: the order may be paid.
            Err(error) if self.ctx.patched("payment-unsettled") => {
                let reason = reasons::unsettled(&error);
                if !self.ctx.is_replaying() {
                    let order_id = &self.order.order_id;
                    tracing::error!(
                        %order_id, "payment unsettled, nothing is undone: {}", reason.message
                    );
                }
                Err(Stop::Unsettled(reason))
            }
            Err(error) => Err(Stop::Failed(failure::reason_of(&error))),
        }
    }

    /// The time of the workflow, in seconds since 1970.
    fn now(&self) -> Option<i64> {
        let since = self.ctx.workflow_time()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    }

    /// Mails the recipients. The order is paid, so failures are only reported.
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
                    // Checked before the count, because a cancellation during the count stops no
                    // mail.
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

    /// Counts the mails that were sent before the mailing was given up; zero if the count fails.
    async fn count_mails(&self) -> MailReport {
        // Histories from before `count_mails` existed replay without it.
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

    /// Undoes the steps in reverse order, all of them, even if one cannot be undone. The error says
    /// which one that is.
    async fn compensate(&mut self, reason: &Reason) -> Result<(), Reason> {
        self.enter(OrderState::Compensating);
        self.ctx
            .state_mut(|s| s.as_mut().reason = Some(reason.clone()));
        let mut all_undone = Ok(());
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
            if let Err(error) = undone {
                // Retries are unlimited, so only a failure that no retry can help ends here.
                let not_undone = reasons::not_undone(step.activity(), &error, reason);
                if !self.ctx.is_replaying() {
                    let order_id = &self.order.order_id;
                    tracing::error!(%order_id, "compensation failed: {}", not_undone.message);
                }
                all_undone = Err(not_undone);
            }
        }
        all_undone
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
            Stop::Failed(reason) => Err(self.fail(OrderState::Failed, reason)),
            Stop::Unsettled(reason) => Err(self.fail(OrderState::Unsettled, reason)),
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

    /// Fails the workflow, with the whole result in the details.
    fn fail(&self, state: OrderState, reason: Reason) -> WorkflowTermination {
        self.enter(state);
        self.ctx
            .state_mut(|s| s.as_mut().reason = Some(reason.clone()));
        let result = OrderResult {
            reason: Some(reason.clone()),
            ..self.result(state)
        };
        ApplicationFailure::builder(reason.message)
            .type_name(reason.kind)
            .non_retryable(true)
            .details(result)
            .build()
            .into()
    }

    /// Decides what a failed step means for the order.
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

    /// Whether a step ended because the workflow was cancelled. Temporal does not retry a step that
    /// it has asked to cancel, so a retryable failure also counts as cancelled once the workflow is
    /// cancelled.
    fn was_cancelled(&self, error: &ActivityExecutionError) -> bool {
        let cancelled = self.ctx.cancellation_token().is_cancelled();
        error.as_cancelled().is_some() || cancelled && failure::is_transient(error)
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
