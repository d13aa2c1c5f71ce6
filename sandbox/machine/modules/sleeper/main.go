// A worker as any team writes one with Temporal's Go SDK. Its tasks only take time, which shows
// what the operator does with fleets that have such tasks.
//
//	sleeper
//	    polls TEMPORAL_TASK_QUEUE until a signal stops it
//	sleeper start QUEUE ID COUNT SECONDS [task|host-task]
//	    starts COUNT workflows ID-0, ID-1, ..., each with one task
//
// The environment of the worker: what taskqueue-operator sets, and
//
//	SLEEPER_SLOTS           how many tasks run at once; 10 unless set
//	SLEEPER_HEARTBEAT       how many seconds pass between two heartbeats of the worker; 5 unless
//	                        set
//	SLEEPER_HOST_QUEUE      "true": a second worker on a task queue with the name of the host, for
//	                        host-task
//	SLEEPER_TUNER           "true": slots by use of the processor, of which a task is assumed to
//	                        use a tenth
//	SLEEPER_IGNORE_SIGTERM  "true": goes on polling after SIGTERM
//	SLEEPER_NO_GRACE        "true": drops the running tasks at SIGTERM, as the SDK does unless its
//	                        WorkerStopTimeout is set
//
// With TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID it is a worker of that version.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// Names under which the two kinds of workflows are registered and started.
const (
	task     = "task"
	hostTask = "host-task"
)

// How soon Temporal notices that a task is lost.
const activityHeartbeat = 10 * time.Second

// How long a task may wait on the task queue of a host: longer, and the host has gone.
const hostGone = 20 * time.Second

// What a worker takes, when its grace period is over, to tell Temporal which tasks were cut off.
const reporting = 3 * time.Second

// How many workflows are on their way to Temporal at once.
const starters = 10

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sleeper:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	address := os.Getenv("TEMPORAL_ADDRESS")
	heartbeat, err := number("SLEEPER_HEARTBEAT", 5)
	if err != nil {
		return err
	}
	temporal, err := client.Dial(client.Options{
		HostPort:                address,
		Namespace:               os.Getenv("TEMPORAL_NAMESPACE"),
		WorkerHeartbeatInterval: time.Duration(heartbeat) * time.Second,
	})
	if err != nil {
		return fmt.Errorf("Temporal at %q (TEMPORAL_ADDRESS): %w", address, err)
	}
	defer temporal.Close()
	if len(args) == 0 {
		return work(temporal)
	}
	if args[0] != "start" {
		return fmt.Errorf("unknown command %q: there is only start", args[0])
	}
	return start(temporal, args[1:])
}

// start begins workflows, and prints the id of each that Temporal has taken.
func start(temporal client.Client, args []string) error {
	if len(args) != 4 && len(args) != 5 {
		return errors.New("usage: sleeper start QUEUE ID COUNT SECONDS [task|host-task]")
	}
	queue, id, kind := args[0], args[1], task
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("COUNT: %w", err)
	}
	seconds, err := strconv.ParseFloat(args[3], 64)
	if err != nil {
		return fmt.Errorf("SECONDS: %w", err)
	}
	if len(args) == 5 {
		kind = args[4]
	}
	numbers := make(chan int)
	failures := make(chan error, starters)
	var group sync.WaitGroup
	for range starters {
		group.Go(func() {
			for number := range numbers {
				options := client.StartWorkflowOptions{TaskQueue: queue, ID: fmt.Sprintf("%s-%d", id, number)}
				run, err := temporal.ExecuteWorkflow(context.Background(), options, kind, seconds)
				if err != nil {
					select {
					case failures <- fmt.Errorf("starting %s: %w", options.ID, err):
					default: // One is enough.
					}
					continue
				}
				fmt.Println(run.GetID())
			}
		})
	}
	for number := range count {
		numbers <- number
	}
	close(numbers)
	group.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func work(temporal client.Client) error {
	options, err := workerOptions()
	if err != nil {
		return err
	}
	shared := worker.New(temporal, os.Getenv("TEMPORAL_TASK_QUEUE"), options)
	shared.RegisterWorkflowWithOptions(runTask, workflow.RegisterOptions{Name: task})
	shared.RegisterWorkflowWithOptions(runHostTask, workflow.RegisterOptions{Name: hostTask})
	tasks := sleeper{grace: options.WorkerStopTimeout - reporting}
	shared.RegisterActivity(tasks.Sleep)
	shared.RegisterActivity(os.Hostname)
	workers := []worker.Worker{shared}
	if isSet("SLEEPER_HOST_QUEUE") {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		own := worker.New(temporal, host, worker.Options{
			MaxConcurrentActivityExecutionSize: options.MaxConcurrentActivityExecutionSize,
			WorkerStopTimeout:                  options.WorkerStopTimeout,
			DisableWorkflowWorker:              true,
		})
		own.RegisterActivity(tasks.Sleep)
		workers = append(workers, own)
	}
	// From here on a SIGTERM is heard, or not, as it is asked for.
	stop := worker.InterruptCh()
	if isSet("SLEEPER_IGNORE_SIGTERM") {
		signal.Ignore(syscall.SIGTERM)
		stop = nil
	}
	for _, one := range workers {
		if err := one.Start(); err != nil {
			return fmt.Errorf("starting a worker: %w", err)
		}
	}
	<-stop
	var group sync.WaitGroup
	for _, one := range workers {
		group.Go(one.Stop)
	}
	group.Wait()
	return nil
}

func workerOptions() (worker.Options, error) {
	slots, err := number("SLEEPER_SLOTS", 10)
	if err != nil {
		return worker.Options{}, err
	}
	grace, err := number("TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS", 30)
	if err != nil {
		return worker.Options{}, err
	}
	options := worker.Options{
		MaxConcurrentActivityExecutionSize: slots,
		WorkerStopTimeout:                  time.Duration(grace)*time.Second + reporting,
	}
	if isSet("SLEEPER_NO_GRACE") {
		options.WorkerStopTimeout = 0
	}
	if isSet("SLEEPER_TUNER") {
		tuner, err := worker.NewResourceBasedTuner(worker.ResourceBasedTunerOptions{
			TargetMem: 0.8, TargetCpu: 0.9, InfoSupplier: machine{},
		})
		if err != nil {
			return worker.Options{}, err
		}
		options.MaxConcurrentActivityExecutionSize = 0
		options.Tuner = tuner
	}
	if build := os.Getenv("TEMPORAL_WORKER_BUILD_ID"); build != "" {
		options.DeploymentOptions = worker.DeploymentOptions{
			UseVersioning:             true,
			Version:                   worker.WorkerDeploymentVersion{DeploymentName: os.Getenv("TEMPORAL_DEPLOYMENT_NAME"), BuildID: build},
			DefaultVersioningBehavior: workflow.VersioningBehaviorAutoUpgrade,
		}
	}
	return options, nil
}

// running counts the tasks of this process.
var running atomic.Int64

// machine tells the tuner how busy a machine would be with the tasks of this process.
type machine struct{}

func (machine) MemoryUsage(*worker.SysInfoContext) (float64, error) { return 0.1, nil }

func (machine) CpuUsage(*worker.SysInfoContext) (float64, error) {
	return min(float64(running.Load())/10, 1), nil
}

// runTask has one task, on whichever worker of the queue takes it.
func runTask(ctx workflow.Context, seconds float64) error {
	return workflow.ExecuteActivity(withOptions(ctx, ""), sleeper{}.Sleep, seconds).Get(ctx, nil)
}

// runHostTask asks a worker of the queue for its host, and has its task on that host's own queue.
func runHostTask(ctx workflow.Context, seconds float64) error {
	for {
		var host string
		if err := workflow.ExecuteActivity(withOptions(ctx, ""), os.Hostname).Get(ctx, &host); err != nil {
			return err
		}
		err := workflow.ExecuteActivity(withOptions(ctx, host), sleeper{}.Sleep, seconds).Get(ctx, nil)
		var timeout *temporal.TimeoutError
		if !errors.As(err, &timeout) || timeout.TimeoutType() != enums.TIMEOUT_TYPE_SCHEDULE_TO_START {
			return err
		}
		// The host has gone meanwhile.
	}
}

func withOptions(ctx workflow.Context, queue string) workflow.Context {
	options := workflow.ActivityOptions{
		TaskQueue: queue, StartToCloseTimeout: time.Hour, HeartbeatTimeout: activityHeartbeat,
	}
	if queue != "" {
		options.ScheduleToStartTimeout = hostGone
	}
	return workflow.WithActivityOptions(ctx, options)
}

// sleeper has the tasks of a worker.
type sleeper struct {
	// How long tasks may go on when the worker has to stop.
	grace time.Duration
}

// Sleep takes this many seconds, or until the worker has to stop.
func (s sleeper) Sleep(ctx context.Context, seconds float64) error {
	running.Add(1)
	defer running.Add(-1)
	began := time.Now()
	end := time.After(time.Duration(seconds * float64(time.Second)))
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	stopping := activity.GetWorkerStopChannel(ctx)
	var over <-chan time.Time
	for {
		select {
		case <-end:
			return nil
		case <-beat.C:
			activity.RecordHeartbeat(ctx)
		case <-stopping:
			stopping, over = nil, time.After(s.grace)
		case <-over:
			return cutOff(began)
		case <-ctx.Done():
			return cutOff(began)
		}
	}
}

// cutOffDetails are the details of a failure of type CutOff.
type cutOffDetails struct {
	// The pod that the task ran on.
	Pod string `json:"pod"`
	// When it began.
	Since time.Time `json:"since"`
}

// cutOff reports where a task ran, and since when: the history of a workflow has only the last
// attempt of a task, and why the one before failed.
func cutOff(began time.Time) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	details := cutOffDetails{Pod: host, Since: began.UTC().Truncate(time.Second)}
	text := fmt.Sprintf("cut off on %s since %s", host, details.Since.Format(time.RFC3339))
	return temporal.NewApplicationError(text, "CutOff", details)
}

func isSet(variable string) bool {
	return os.Getenv(variable) == "true"
}

func number(variable string, fallback int) (int, error) {
	text := os.Getenv(variable)
	if text == "" {
		return fallback, nil
	}
	value, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", variable, err)
	}
	return value, nil
}
