"""The workflow and the activity of the worker."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow


@dataclass
class Input:
    """Input of the workflow and the activity."""

    name: str
    seconds: float


@activity.defn
async def greet(input: Input) -> str:
    """Takes the given time, as a call to another system would."""
    loop = asyncio.get_running_loop()
    end = loop.time() + input.seconds
    while (left := end - loop.time()) > 0:
        activity.heartbeat()
        await asyncio.sleep(min(left, 1))
    return f"Hello, {input.name}"


@workflow.defn
class Greeting:
    """Greets by one activity."""

    @workflow.run
    async def run(self, input: Input) -> str:
        return await workflow.execute_activity(
            greet,
            input,
            start_to_close_timeout=timedelta(hours=1),
            # The activity of a worker that died starts again after this.
            heartbeat_timeout=timedelta(seconds=10),
        )
