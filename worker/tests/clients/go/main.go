// A client of the order system in Go, as a user would write it: it uses the documented names and
// inputs and knows nothing about the implementation.
//
//	order-client ADDRESS PREFIX ORDERS [INVENTORY PAYMENTS NOTIFICATIONS]
//
// It starts orders on the task queue ORDERS. Then it runs its own workflow, which calls the
// activities on the given queues (default: all on ORDERS), and prints all results as one JSON
// object. Every id that it generates starts with PREFIX. If the variable DECLINED is set, an order
// of that total is expected to be declined.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const total = 100

// OrderInput identifies the order by order_id.
type OrderInput struct {
	OrderID string `json:"order_id"`
	Total   int    `json:"total"`
}

// OrderInputByID identifies the order by id.
type OrderInputByID struct {
	ID    string `json:"id"`
	Total int    `json:"total"`
}

// OrderInputByBoth gives the order's id under both names.
type OrderInputByBoth struct {
	ID      string `json:"id"`
	OrderID string `json:"order_id"`
	Total   int    `json:"total"`
}

// PaymentInput is the input of process_payment.
type PaymentInput struct {
	OrderID string `json:"order_id"`
	Amount  int    `json:"amount"`
}

// NotificationInput is the input of send_notification.
type NotificationInput struct {
	Recipients []string `json:"recipients"`
	Subject    string   `json:"subject"`
	Body       string   `json:"body"`
}

// Queues are the task queues of the activities.
type Queues struct {
	Orders, Inventory, Payments, Notifications string
}

// Result is what a workflow or an activity of the order system returned.
type Result = map[string]any

// Report is the client's output.
type Report struct {
	Orders     []Result `json:"orders"`
	Activities Result   `json:"activities"`
	Declined   Result   `json:"declined"`
	Mistaken   []any    `json:"mistaken"`
}

func main() {
	report, err := run(context.Background(), os.Args[1:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(report)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "order-client:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (*Report, error) {
	if len(args) != 3 && len(args) != 6 {
		return nil, errors.New("usage: order-client ADDRESS PREFIX ORDERS [INVENTORY PAYMENTS NOTIFICATIONS]")
	}
	address, prefix, orders := args[0], args[1], args[2]
	queues := Queues{orders, orders, orders, orders}
	if len(args) == 6 {
		queues = Queues{orders, args[3], args[4], args[5]}
	}
	logger := log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	temporal, err := client.Dial(client.Options{HostPort: address, Logger: logger})
	if err != nil {
		return nil, err
	}
	defer temporal.Close()

	report := &Report{}
	id := func(number int) string { return fmt.Sprintf("%s-go-%d", prefix, number) }
	inputs := []any{
		OrderInput{OrderID: id(1), Total: total},
		OrderInputByID{ID: id(2), Total: total},
		OrderInputByBoth{ID: id(3), OrderID: id(3), Total: total},
	}
	runs := make([]client.WorkflowRun, len(inputs))
	for i, input := range inputs {
		options := client.StartWorkflowOptions{
			ID:                       "order-" + id(i+1),
			TaskQueue:                orders,
			WorkflowExecutionTimeout: 2 * time.Minute,
		}
		if runs[i], err = temporal.ExecuteWorkflow(ctx, options, "OrderWorkflow", input); err != nil {
			return nil, err
		}
	}
	for _, run := range runs {
		var result Result
		if err := run.Get(ctx, &result); err != nil {
			return nil, err
		}
		report.Orders = append(report.Orders, result)
	}
	return report, report.callActivities(ctx, temporal, prefix+"-go", queues)
}

// callActivities runs the client's own workflows.
func (report *Report) callActivities(ctx context.Context, temporal client.Client, prefix string, queues Queues) error {
	own := worker.New(temporal, prefix, worker.Options{})
	own.RegisterWorkflow(ShopWorkflow)
	own.RegisterWorkflow(MistakenWorkflow)
	if err := own.Start(); err != nil {
		return err
	}
	defer own.Stop()
	execute := func(result any, id string, workflow any, args ...any) error {
		options := client.StartWorkflowOptions{ID: id, TaskQueue: prefix, WorkflowExecutionTimeout: 2 * time.Minute}
		run, err := temporal.ExecuteWorkflow(ctx, options, workflow, args...)
		if err != nil {
			return err
		}
		return run.Get(ctx, result)
	}
	order := OrderInput{OrderID: prefix + "-4", Total: total}
	if err := execute(&report.Activities, "shop-"+order.OrderID, ShopWorkflow, order, queues); err != nil {
		return err
	}
	if amount, err := strconv.Atoi(os.Getenv("DECLINED")); err == nil {
		order := OrderInput{OrderID: prefix + "-5", Total: amount}
		if err := execute(&report.Declined, "shop-"+order.OrderID, ShopWorkflow, order, queues); err != nil {
			return err
		}
	}
	return execute(&report.Mistaken, "mistaken-"+prefix, MistakenWorkflow, queues.Payments)
}

// ShopWorkflow calls the order system's activities with their documented inputs.
func ShopWorkflow(ctx workflow.Context, order OrderInput, queues Queues) (Result, error) {
	if err := step(ctx, nil, "create_order", order, queues.Orders); err != nil {
		return nil, err
	}
	if err := step(ctx, nil, "reserve_inventory", order, queues.Inventory); err != nil {
		return nil, err
	}
	var payment, mails Result
	charge := PaymentInput{OrderID: order.OrderID, Amount: order.Total}
	if err := step(ctx, &payment, "process_payment", charge, queues.Payments); err != nil {
		var cause *temporal.ApplicationError
		if !errors.As(err, &cause) {
			return nil, err
		}
		if err := step(ctx, nil, "release_inventory", order.OrderID, queues.Inventory); err != nil {
			return nil, err
		}
		if err := step(ctx, nil, "cancel_order_activity", order.OrderID, queues.Orders); err != nil {
			return nil, err
		}
		return Result{"failure": []any{cause.Type(), cause.Message(), cause.NonRetryable()}}, nil
	}
	mail := NotificationInput{
		Recipients: []string{"a@example.com", "b@example.com"},
		Subject:    "Paid",
		Body:       "Thank you.\n",
	}
	if err := step(ctx, &mails, "send_notification", mail, queues.Notifications); err != nil {
		return nil, err
	}
	return Result{"payment": payment, "mails": mails}, nil
}

// MistakenWorkflow calls an activity with an unreadable input, with unlimited attempts.
func MistakenWorkflow(ctx workflow.Context, queue string) ([]any, error) {
	options := workflow.ActivityOptions{TaskQueue: queue, StartToCloseTimeout: 30 * time.Second}
	mistake := map[string]int{"amount": 7}
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), "process_payment", mistake).Get(ctx, nil)
	var cause *temporal.ApplicationError
	if errors.As(err, &cause) {
		return []any{cause.Type(), cause.NonRetryable()}, nil
	}
	return nil, err
}

// step runs one activity. An activity that is expected to work must succeed at its first attempt.
func step(ctx workflow.Context, result any, name string, argument any, queue string) error {
	options := workflow.ActivityOptions{
		TaskQueue:           queue,
		StartToCloseTimeout: 30 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
	}
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), name, argument).Get(ctx, result)
}
