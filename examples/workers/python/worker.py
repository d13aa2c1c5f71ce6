"""A worker for the task queue of a TaskQueueWorker. It needs nothing of its own but greeting.py."""

import signal
import sys

# The imports take a while, and Linux drops a SIGTERM for which process 1 has no handler.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

import asyncio
import logging
import os
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Worker, WorkerDeploymentConfig

from greeting import Greeting, greet


async def main() -> None:
    logging.basicConfig(level=logging.INFO)
    slots = int(os.environ.get("WORKER_SLOTS", "10"))
    grace = int(os.environ.get("TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS", "30"))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    client = await Client.connect(
        # Reads TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_TLS_* and TEMPORAL_API_KEY.
        **ClientConfig.load_client_connect_config(),
        # The operator counts what runs by these heartbeats. The SDK's default is 60 s.
        runtime=Runtime(
            telemetry=TelemetryConfig(), worker_heartbeat_interval=timedelta(seconds=5)
        ),
    )
    worker = Worker(
        client,
        task_queue=os.environ["TEMPORAL_TASK_QUEUE"],
        workflows=[Greeting],
        activities=[greet],
        max_concurrent_activities=slots,
        # Running activities may take this long after SIGTERM. The SDK's default is 0.
        graceful_shutdown_timeout=timedelta(seconds=grace),
        deployment_config=version(),
    )
    # The end of the block stops polling and waits for the running activities.
    async with worker:
        await stop.wait()


def version() -> WorkerDeploymentConfig | None:
    """The version of this worker, if Worker Versioning is used."""
    deployment = os.environ.get("TEMPORAL_DEPLOYMENT_NAME")
    build = os.environ.get("TEMPORAL_WORKER_BUILD_ID")
    if not deployment or not build:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=deployment, build_id=build),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


if __name__ == "__main__":
    asyncio.run(main())
    # The SDK's threads can crash an interpreter that ends as usual (temporalio/sdk-python#300).
    sys.stdout.flush()
    os._exit(0)
