import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';

const { greet } = proxyActivities<typeof activities>({
  startToCloseTimeout: '1 hour',
  // The activity of a worker that died starts again after this.
  heartbeatTimeout: '10 seconds',
});

/** Greets by one activity. */
export async function Greeting(input: activities.Input): Promise<string> {
  return await greet(input);
}
