package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"
)

const maxTotal = 1_000_000_000_000

var orderID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

type activities struct {
	pool    *pgxpool.Pool
	gateway string
	http    *http.Client
}

func newActivities(pool *pgxpool.Pool, gateway string) *activities {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// The default of 2 would open a connection for nearly every payment.
	transport.MaxIdleConnsPerHost = slots
	return &activities{
		pool:    pool,
		gateway: gateway,
		http:    &http.Client{Transport: transport, Timeout: 10 * time.Second},
	}
}

func (a *activities) register(w worker.Worker) {
	for name, function := range map[string]any{
		"check_order":       a.checkOrder,
		"create_order":      a.createOrder,
		"reserve_inventory": a.reserveInventory,
		"process_payment":   a.processPayment,
	} {
		w.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
}

// checkOrder checks an order and completes it: no I/O.
func (a *activities) checkOrder(_ context.Context, input OrderInput) (Order, error) {
	if !orderID.MatchString(input.OrderID) {
		return Order{}, errors.New("order_id must have 1 to 100 characters of A-Z a-z 0-9 . _ -")
	}
	if input.Total < 1 || input.Total > maxTotal {
		return Order{}, fmt.Errorf("total must be between 1 and %d minor units", maxTotal)
	}
	return Order{
		OrderID:    input.OrderID,
		Total:      input.Total,
		Currency:   "USD",
		Items:      []Item{{SKU: "standard", Quantity: 1}},
		Recipients: []string{},
		Subject:    "Your order " + input.OrderID,
		Body: fmt.Sprintf("Thank you. Your order %s over %d.%02d USD is paid.\n",
			input.OrderID, input.Total/100, input.Total%100),
		TaskQueues: map[string]string{},
	}, nil
}

// createOrder records the order: one statement.
func (a *activities) createOrder(ctx context.Context, order CreateOrder) error {
	tag, err := a.pool.Exec(ctx,
		`INSERT INTO orders (order_id, workflow_id, total, currency, state, reason, message, created_at, updated_at)
		 VALUES ($1, $2, $3, $4, 'created', '', '', $5, $5)
		 ON CONFLICT (order_id) DO NOTHING`,
		order.OrderID, workflowID(ctx, order.OrderID), order.Total, order.Currency, now())
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 1 {
		slog.Info("order created", "order_id", order.OrderID)
	}
	return nil
}

// reserveInventory takes all items out of the stock, or none: one transaction.
func (a *activities) reserveInventory(ctx context.Context, reservation Reservation) error {
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx,
			`INSERT INTO reservations (order_id, state, updated_at) VALUES ($1, 'reserved', $2)
			 ON CONFLICT (order_id) DO NOTHING`,
			reservation.OrderID, now())
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		for _, item := range reservation.Items {
			if err := take(ctx, tx, reservation.OrderID, item); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slog.Info("inventory reserved", "order_id", reservation.OrderID)
	return nil
}

func take(ctx context.Context, tx pgx.Tx, orderID string, item Item) error {
	tag, err := tx.Exec(ctx,
		`UPDATE stock SET available = available - $2 WHERE sku = $1 AND available >= $2`,
		item.SKU, item.Quantity)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("fewer than %d pieces of %s are left", item.Quantity, item.SKU)
	}
	_, err = tx.Exec(ctx,
		`INSERT INTO reservation_items (order_id, sku, quantity) VALUES ($1, $2, $3)`,
		orderID, item.SKU, item.Quantity)
	return err
}

// processPayment charges at the gateway and records its answer: one request, one transaction.
func (a *activities) processPayment(ctx context.Context, request PaymentRequest) (Payment, error) {
	key := workflowID(ctx, request.OrderID) + "-charge"
	payment, err := a.charge(ctx, key, request)
	if err != nil {
		return Payment{}, err
	}
	err = pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx,
			`INSERT INTO payments (order_id, idempotency_key, state, charge_id, amount, currency, updated_at)
			 VALUES ($1, $2, 'charged', $3, $4, $5, $6)
			 ON CONFLICT (order_id) DO UPDATE
			 SET state = excluded.state, charge_id = excluded.charge_id, updated_at = excluded.updated_at
			 WHERE payments.state <> 'charged'`,
			request.OrderID, key, payment.ChargeID, request.Amount, request.Currency, now())
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx,
			`UPDATE orders SET state = 'paid', updated_at = $2 WHERE order_id = $1 AND state = 'created'`,
			request.OrderID, now())
		return err
	})
	if err != nil {
		return Payment{}, err
	}
	slog.Info("order paid", "order_id", request.OrderID, "amount", request.Amount)
	return payment, nil
}

func (a *activities) charge(ctx context.Context, key string, request PaymentRequest) (Payment, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return Payment{}, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, a.gateway+"/charge", bytes.NewReader(body))
	if err != nil {
		return Payment{}, err
	}
	post.Header.Set("Idempotency-Key", key)
	post.Header.Set("Content-Type", "application/json")
	response, err := a.http.Do(post)
	if err != nil {
		return Payment{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Payment{}, fmt.Errorf("the gateway answered %s", response.Status)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return Payment{}, err
	}
	var answer struct {
		Status   string `json:"status"`
		ChargeID string `json:"charge_id"`
		Amount   int64  `json:"amount"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return Payment{}, err
	}
	if answer.Status != "charged" {
		return Payment{}, errors.New("the gateway did not charge")
	}
	return Payment{ChargeID: answer.ChargeID, Amount: answer.Amount}, nil
}

// workflowID returns the owner of the order. An activity without a workflow acts for the workflow
// order-ID.
func workflowID(ctx context.Context, orderID string) string {
	if id := activity.GetInfo(ctx).WorkflowExecution.ID; id != "" {
		return id
	}
	return "order-" + orderID
}

func now() string {
	return time.Now().UTC().Format(time.RFC3339Nano)
}
