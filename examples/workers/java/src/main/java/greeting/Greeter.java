package greeting;

import io.temporal.activity.Activity;
import io.temporal.activity.ActivityInterface;
import io.temporal.activity.ActivityMethod;
import java.time.Duration;
import java.time.Instant;

@ActivityInterface
public interface Greeter {
  @ActivityMethod(name = "greet")
  String greet(Input input);

  /** Takes the given time, as a call to another system would. */
  class Implementation implements Greeter {
    @Override
    public String greet(Input input) {
      var context = Activity.getExecutionContext();
      var end = Instant.now().plusMillis((long) (input.seconds() * 1000));
      try {
        for (var left = left(end); left > 0; left = left(end)) {
          // Throws when the activity is cancelled.
          context.heartbeat(null);
          Thread.sleep(Math.min(left, 1000));
        }
      } catch (InterruptedException e) {
        // The time of a draining worker is over: another worker starts the activity again.
        throw Activity.wrap(e);
      }
      return "Hello, " + input.name();
    }

    private static long left(Instant end) {
      return Duration.between(Instant.now(), end).toMillis();
    }
  }
}
