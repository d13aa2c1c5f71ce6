"""What shows in the statistics of a task queue on which nobody polls, for each kind of request.

Run it against a Temporal dev server that is otherwise idle:

    temporal server start-dev --headless --http-port 7243
    python -m venv /tmp/at-zero && /tmp/at-zero/bin/pip install temporalio==1.35.0
    /tmp/at-zero/bin/python operator/temporal/benches/at_zero/at_zero.py

It reads as the operator does: DescribeTaskQueue with statistics, for one type of tasks.
"""

import asyncio
import time
import urllib.error
import urllib.request
from datetime import timedelta

from temporalio import workflow
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

ADDRESS = "127.0.0.1:7233"
HTTP = "http://127.0.0.1:7243"
WATCHED_SECONDS = 60
# A client waits this long for an answer.
PATIENCE = timedelta(seconds=50)
# By then the worker that started the workflow has left the statistics.
SETTLED_SECONDS = 45


@workflow.defn
class Waits:
    @workflow.run
    async def run(self, seconds: float) -> None:
        await workflow.sleep(timedelta(seconds=seconds))

    @workflow.signal
    def poke(self) -> None:
        pass

    @workflow.query
    def ask(self) -> str:
        return "answer"

    @workflow.update
    async def change(self) -> str:
        return "changed"


async def statistics(client, queue, task_type):
    request = DescribeTaskQueueRequest(
        namespace="default",
        task_queue=TaskQueue(name=queue),
        task_queue_type=task_type,
        report_stats=True,
    )
    stats = (await client.workflow_service.describe_task_queue(request)).stats
    return stats.approximate_backlog_count, stats.tasks_add_rate


async def started(client, queue, seconds):
    """A workflow that a worker has started, and then the worker has stopped."""
    runner = UnsandboxedWorkflowRunner()
    async with Worker(client, task_queue=queue, workflows=[Waits], workflow_runner=runner, max_cached_workflows=0):
        handle = await client.start_workflow(Waits.run, seconds, id=queue, task_queue=queue)
        while len([event async for event in handle.fetch_history_events()]) < 4:
            await asyncio.sleep(0.2)
    await asyncio.sleep(SETTLED_SECONDS)
    return handle


async def case(client, name, request, seconds=3600.0, task_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW):
    queue = f"{name}-{int(time.time())}"
    handle = await started(client, queue, seconds)
    began = time.monotonic()
    asked = asyncio.ensure_future(request(client, handle, queue))
    first = {}
    while (since := time.monotonic() - began) < WATCHED_SECONDS:
        backlog, rate = await statistics(client, queue, task_type)
        if backlog:
            first.setdefault("backlog", f"backlog {backlog} after {since:.1f} s")
        if rate:
            first.setdefault("rate", f"add rate {rate:.3f}/s after {since:.1f} s")
        if asked.done():
            first.setdefault("answer", f"answer after {since:.1f} s: {asked.exception() or asked.result()}")
        await asyncio.sleep(1)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    print(f"{name}: {'; '.join(first.values())}", flush=True)


async def start(client, _, queue):
    await client.start_workflow(Waits.run, 3600.0, id=f"{queue}-2", task_queue=queue)


async def signal(_, handle, __):
    await handle.signal(Waits.poke)


async def query(_, handle, __):
    return await handle.query(Waits.ask, rpc_timeout=PATIENCE)


async def update(_, handle, __):
    return await handle.execute_update(Waits.change, rpc_timeout=PATIENCE)


async def nothing(_, __, ___):
    pass


async def nexus(_, __, queue):
    def call():
        url = f"{HTTP}/namespaces/default/task-queues/{queue}/nexus-services/service/operation"
        headers = {"Content-Type": "application/json", "Request-Timeout": f"{PATIENCE.seconds}s"}
        request = urllib.request.Request(url, data=b"{}", headers=headers, method="POST")
        try:
            return urllib.request.urlopen(request, timeout=PATIENCE.seconds + 5).status
        except urllib.error.HTTPError as error:
            return f"HTTP {error.code}"

    return await asyncio.to_thread(call)


async def main():
    client = await Client.connect(ADDRESS)
    await asyncio.gather(
        case(client, "start", start),
        case(client, "signal", signal),
        case(client, "update", update),
        # Fires while it is watched.
        case(client, "timer", nothing, seconds=SETTLED_SECONDS + 30.0),
        case(client, "query", query),
        case(client, "nexus", nexus, task_type=TaskQueueType.TASK_QUEUE_TYPE_NEXUS),
    )


if __name__ == "__main__":
    asyncio.run(main())
