import { heartbeat, sleep } from '@temporalio/activity';

export interface Input {
  name: string;
  seconds: number;
}

/** Takes the given time, as a call to another system would. */
export async function greet({ name, seconds }: Input): Promise<string> {
  const end = Date.now() + seconds * 1000;
  for (let left = seconds * 1000; left > 0; left = end - Date.now()) {
    heartbeat();
    // Throws when the activity is cancelled, also when the time of a draining worker is over.
    await sleep(Math.min(left, 1000));
  }
  return `Hello, ${name}`;
}
