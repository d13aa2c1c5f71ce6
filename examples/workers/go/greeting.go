package main

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/workflow"
)

// Input of the workflow and the activity.
type Input struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Greeting greets by one activity.
func Greeting(ctx workflow.Context, input Input) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Hour,
		// The activity of a worker that died starts again after this.
		HeartbeatTimeout: 10 * time.Second,
	})
	var greeting string
	err := workflow.ExecuteActivity(ctx, Greet, input).Get(ctx, &greeting)
	return greeting, err
}

// Greet takes the given time, as a call to another system would.
func Greet(ctx context.Context, input Input) (string, error) {
	done := time.After(time.Duration(input.Seconds * float64(time.Second)))
	heartbeat := time.NewTicker(time.Second)
	defer heartbeat.Stop()
	for {
		select {
		case <-done:
			return "Hello, " + input.Name, nil
		case <-heartbeat.C:
			activity.RecordHeartbeat(ctx)
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
