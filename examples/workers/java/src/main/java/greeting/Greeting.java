package greeting;

import io.temporal.activity.ActivityOptions;
import io.temporal.workflow.Workflow;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.time.Duration;

/** Greets by one activity. The name of the interface is the workflow's type. */
@WorkflowInterface
public interface Greeting {
  @WorkflowMethod
  String run(Input input);

  class Implementation implements Greeting {
    private final Greeter greeter =
        Workflow.newActivityStub(
            Greeter.class,
            ActivityOptions.newBuilder()
                .setStartToCloseTimeout(Duration.ofHours(1))
                // The activity of a worker that died starts again after this.
                .setHeartbeatTimeout(Duration.ofSeconds(10))
                .build());

    @Override
    public String run(Input input) {
      return greeter.greet(input);
    }
  }
}
