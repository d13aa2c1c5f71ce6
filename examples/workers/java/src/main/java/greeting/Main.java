package greeting;

import io.temporal.client.WorkflowClient;
import io.temporal.common.VersioningBehavior;
import io.temporal.common.WorkerDeploymentVersion;
import io.temporal.envconfig.ClientConfigProfile;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.serviceclient.WorkflowServiceStubsOptions;
import io.temporal.worker.WorkerDeploymentOptions;
import io.temporal.worker.WorkerFactory;
import io.temporal.worker.WorkerOptions;
import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.TimeUnit;

/** A worker for the task queue of a TaskQueueWorker. */
public final class Main {
  /**
   * The first call loads the classes of gRPC. On a busy node that takes longer than the SDK's
   * default of 5 s, and a worker that gives up has to load them again.
   */
  private static final Duration TO_CONNECT = Duration.ofMinutes(1);

  public static void main(String[] args) throws Exception {
    var taskQueue = System.getenv("TEMPORAL_TASK_QUEUE");
    Objects.requireNonNull(taskQueue, "TEMPORAL_TASK_QUEUE is not set");

    // Reads TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_TLS_* and TEMPORAL_API_KEY.
    var profile = ClientConfigProfile.load();
    var service =
        WorkflowServiceStubs.newConnectedServiceStubs(
            WorkflowServiceStubsOptions.newBuilder(profile.toWorkflowServiceStubsOptions())
                .setSystemInfoTimeout(TO_CONNECT)
                .build(),
            TO_CONNECT);
    var client =
        WorkflowClient.newInstance(
            service,
            profile.toWorkflowClientOptions().toBuilder()
                // The operator counts what runs by these heartbeats. The SDK's default is 60 s.
                .setWorkerHeartbeatInterval(Duration.ofSeconds(5))
                .build());

    var options =
        WorkerOptions.newBuilder()
            .setMaxConcurrentActivityExecutionSize(number("WORKER_SLOTS", 10))
            // Otherwise the first heartbeat of an activity after SIGTERM throws, and ends it.
            .setAllowActivityHeartbeatDuringShutdown(true)
            // The first workflow task loads classes. On a busy node that takes longer than the SDK's
            // default of 1 s, after which the task fails as a deadlock.
            .setDefaultDeadlockDetectionTimeout(10_000);
    var deployment = System.getenv("TEMPORAL_DEPLOYMENT_NAME");
    var build = System.getenv("TEMPORAL_WORKER_BUILD_ID");
    if (deployment != null && build != null) {
      options.setDeploymentOptions(
          WorkerDeploymentOptions.newBuilder()
              .setUseVersioning(true)
              .setVersion(new WorkerDeploymentVersion(deployment, build))
              .setDefaultVersioningBehavior(VersioningBehavior.AUTO_UPGRADE)
              .build());
    }

    var factory = WorkerFactory.newInstance(client);
    var worker = factory.newWorker(taskQueue, options.build());
    worker.registerWorkflowImplementationTypes(Greeting.Implementation.class);
    worker.registerActivitiesImplementations(new Greeter.Implementation());

    var grace = number("TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS", 30);
    factory.start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> drain(factory, grace)));
  }

  /** Runs on SIGTERM: stops polling, and waits for the running activities. */
  private static void drain(WorkerFactory factory, int graceSeconds) {
    factory.shutdown();
    factory.awaitTermination(graceSeconds, TimeUnit.SECONDS);
    if (!factory.isTerminated()) {
      // Interrupts what still runs, so that another worker starts it again at once.
      factory.shutdownNow();
      factory.awaitTermination(10, TimeUnit.SECONDS);
    }
    // The JVM would end with 143, as if the signal had killed it.
    Runtime.getRuntime().halt(0);
  }

  private static int number(String variable, int fallback) {
    var value = System.getenv(variable);
    return value == null ? fallback : Integer.parseInt(value);
  }
}
