// A worker for the task queue of a TaskQueueWorker. It needs nothing of its own but greeting.go.
package main

import (
	"cmp"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

func main() {
	if err := run(); err != nil {
		log.Fatalln(err)
	}
}

func run() error {
	slots, err := number("WORKER_SLOTS", "10")
	if err != nil {
		return err
	}
	grace, err := number("TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS", "30")
	if err != nil {
		return err
	}

	// Reads TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_TLS_* and TEMPORAL_API_KEY.
	connection, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return err
	}
	// The operator counts what runs by these heartbeats. The SDK's default is 60 s.
	connection.WorkerHeartbeatInterval = 5 * time.Second
	temporal, err := client.Dial(connection)
	if err != nil {
		return err
	}
	defer temporal.Close()

	options := worker.Options{
		// The SDK's default of both is 1000. The operator takes these numbers as what a pod can carry.
		MaxConcurrentActivityExecutionSize:     slots,
		MaxConcurrentWorkflowTaskExecutionSize: 100,
		// Running activities may take this long after SIGTERM. The SDK's default is 0.
		WorkerStopTimeout: time.Duration(grace) * time.Second,
	}
	deployment, build := os.Getenv("TEMPORAL_DEPLOYMENT_NAME"), os.Getenv("TEMPORAL_WORKER_BUILD_ID")
	if deployment != "" && build != "" {
		options.DeploymentOptions = worker.DeploymentOptions{
			UseVersioning:             true,
			Version:                   worker.WorkerDeploymentVersion{DeploymentName: deployment, BuildID: build},
			DefaultVersioningBehavior: workflow.VersioningBehaviorAutoUpgrade,
		}
	}
	w := worker.New(temporal, os.Getenv("TEMPORAL_TASK_QUEUE"), options)
	w.RegisterWorkflow(Greeting)
	w.RegisterActivityWithOptions(Greet, activity.RegisterOptions{Name: "greet"})
	// Returns after SIGTERM, when the running activities have ended or the time is over.
	return w.Run(worker.InterruptCh())
}

func number(variable, fallback string) (int, error) {
	value, err := strconv.Atoi(cmp.Or(os.Getenv(variable), fallback))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", variable, err)
	}
	return value, nil
}
