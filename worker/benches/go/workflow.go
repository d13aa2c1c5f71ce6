package main

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// OrderInput is the workflow's input, limited to the fields that the benchmark sets.
type OrderInput struct {
	OrderID string `json:"order_id"`
	Total   int64  `json:"total"`
}

// Order is a checked order, complete.
type Order struct {
	OrderID             string            `json:"order_id"`
	Total               int64             `json:"total"`
	Currency            string            `json:"currency"`
	Items               []Item            `json:"items"`
	Recipients          []string          `json:"recipients"`
	Subject             string            `json:"subject"`
	Body                string            `json:"body"`
	CancelWindowSeconds uint64            `json:"cancel_window_seconds"`
	TaskQueues          map[string]string `json:"task_queues"`
	SearchAttributes    bool              `json:"search_attributes"`
}

// CreateOrder is the input of create_order.
type CreateOrder struct {
	OrderID  string `json:"order_id"`
	Total    int64  `json:"total"`
	Currency string `json:"currency"`
}

// Item is one line of an order.
type Item struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// Reservation is the input of reserve_inventory.
type Reservation struct {
	OrderID string `json:"order_id"`
	Items   []Item `json:"items"`
}

// PaymentRequest is the input of process_payment.
type PaymentRequest struct {
	OrderID  string `json:"order_id"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// Payment is the result of process_payment.
type Payment struct {
	ChargeID string `json:"charge_id"`
	Amount   int64  `json:"amount"`
	Settled  bool   `json:"settled"`
}

// Notification is the outcome of the mails: the benchmark's orders have no recipients.
type Notification struct {
	State   string `json:"state"`
	Sent    uint64 `json:"sent"`
	Refused uint64 `json:"refused"`
}

// OrderResult is the workflow's result.
type OrderResult struct {
	OrderID      string       `json:"order_id"`
	State        string       `json:"state"`
	Total        int64        `json:"total"`
	Currency     string       `json:"currency"`
	Payment      Payment      `json:"payment"`
	Notification Notification `json:"notification"`
}

// OrderWorkflow checks, creates, reserves and pays, with the order worker's timeouts and retries.
func OrderWorkflow(ctx workflow.Context, input OrderInput) (OrderResult, error) {
	state := "received"
	err := workflow.SetQueryHandler(ctx, "state", func() (string, error) { return state, nil })
	if err != nil {
		return OrderResult{}, err
	}

	step := withTimeout(ctx, 15*time.Second)
	var order Order
	if err := workflow.ExecuteActivity(step, "check_order", input).Get(ctx, &order); err != nil {
		return OrderResult{}, err
	}

	state = "creating"
	create := CreateOrder{OrderID: order.OrderID, Total: order.Total, Currency: order.Currency}
	if err := workflow.ExecuteActivity(step, "create_order", create).Get(ctx, nil); err != nil {
		return OrderResult{}, err
	}

	state = "reserving"
	reservation := Reservation{OrderID: order.OrderID, Items: order.Items}
	if err := workflow.ExecuteActivity(step, "reserve_inventory", reservation).Get(ctx, nil); err != nil {
		return OrderResult{}, err
	}

	state = "paying"
	var payment Payment
	request := PaymentRequest{OrderID: order.OrderID, Amount: order.Total, Currency: order.Currency}
	pay := withTimeout(ctx, 20*time.Second)
	if err := workflow.ExecuteActivity(pay, "process_payment", request).Get(ctx, &payment); err != nil {
		return OrderResult{}, err
	}

	state = "completed"
	return OrderResult{
		OrderID:      order.OrderID,
		State:        state,
		Total:        order.Total,
		Currency:     order.Currency,
		Payment:      payment,
		Notification: Notification{State: "none"},
	}, nil
}

func withTimeout(ctx workflow.Context, timeout time.Duration) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: timeout,
		WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    time.Second,
			BackoffCoefficient: 2,
			MaximumInterval:    30 * time.Second,
			MaximumAttempts:    3,
		},
	})
}
