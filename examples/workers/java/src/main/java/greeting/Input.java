package greeting;

/** Input of the workflow and the activity. */
public record Input(String name, double seconds) {}
