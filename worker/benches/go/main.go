// The Go worker of the comparison: the same workflow and activities as the order worker, on the
// same database and payment gateway, for orders that go well. It leaves out the rest (undoing,
// settling, mails, metrics, health, draining), so every difference in the work favours it.
// `cargo bench --bench worker` builds it.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
)

// The order worker's defaults.
const (
	databaseConnections = 4
	slots               = 100
	cachedWorkflows     = 1000
	heartbeatInterval   = 5 * time.Second
	stickyTimeout       = 2 * time.Second
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench-worker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	pool, err := openPool(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return fmt.Errorf("the database (DATABASE_URL): %w", err)
	}
	defer pool.Close()
	temporal, err := client.Dial(client.Options{
		HostPort:                os.Getenv("TEMPORAL_ADDRESS"),
		Logger:                  log.NewStructuredLogger(slog.Default()),
		ConnectionOptions:       client.ConnectionOptions{GrpcCompression: &client.GrpcCompressionNone{}},
		WorkerHeartbeatInterval: heartbeatInterval,
	})
	if err != nil {
		return fmt.Errorf("Temporal (TEMPORAL_ADDRESS): %w", err)
	}
	defer temporal.Close()
	worker.SetStickyWorkflowCacheSize(cachedWorkflows)
	w := worker.New(temporal, os.Getenv("TEMPORAL_TASK_QUEUE"), worker.Options{
		MaxConcurrentActivityExecutionSize:     slots,
		MaxConcurrentWorkflowTaskExecutionSize: slots,
		ActivityTaskPollerBehavior:             pollers(),
		WorkflowTaskPollerBehavior:             pollers(),
		StickyScheduleToStartTimeout:           stickyTimeout,
		DisableEagerActivities:                 os.Getenv("BENCH_EAGER") != "true",
	})
	activities := newActivities(pool, os.Getenv("PAYMENT_GATEWAY_URL"))
	w.RegisterWorkflow(OrderWorkflow)
	activities.register(w)
	return w.Run(worker.InterruptCh())
}

func pollers() worker.PollerBehavior {
	return worker.NewPollerBehaviorAutoscaling(worker.PollerBehaviorAutoscalingOptions{
		InitialNumberOfPollers: 5,
		MinimumNumberOfPollers: 2,
		MaximumNumberOfPollers: 10,
	})
}

// openPool connects once, so that the worker does not poll before the database answers.
func openPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = databaseConnections
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return pool, pool.Ping(ctx)
}
