"""The order worker's comparison in Python: the same workflow and activities as ../go.

As there, it does what an order needs that nothing happens to, and leaves out the rest.
"""

import asyncio
import logging
import os
import re
import sys
from datetime import datetime, timedelta, timezone

from temporalio import activity, workflow
from temporalio.client import Client, GrpcCompression
from temporalio.common import RetryPolicy
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import PollerBehaviorAutoscaling, Worker

with workflow.unsafe.imports_passed_through():
    import aiohttp
    import asyncpg

# The order worker's defaults.
DATABASE_CONNECTIONS = 4
SLOTS = 100
CACHED_WORKFLOWS = 1000
HEARTBEAT_INTERVAL = timedelta(seconds=5)
STICKY_TIMEOUT = timedelta(seconds=2)

ORDER_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
MAX_TOTAL = 1_000_000_000_000

RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=3,
)


@workflow.defn(name="OrderWorkflow")
class OrderWorkflow:
    """Checks, creates, reserves and pays."""

    def __init__(self) -> None:
        self.current = "received"

    @workflow.query(name="state")
    def state(self) -> str:
        return self.current

    @workflow.run
    async def run(self, sent: dict) -> dict:
        order = await self.step("check_order", sent, 15)
        order_id, total, currency = order["order_id"], order["total"], order["currency"]
        self.current = "creating"
        created = {"order_id": order_id, "total": total, "currency": currency}
        await self.step("create_order", created, 15)
        self.current = "reserving"
        reservation = {"order_id": order_id, "items": order["items"]}
        await self.step("reserve_inventory", reservation, 15)
        self.current = "paying"
        request = {"order_id": order_id, "amount": total, "currency": currency}
        payment = await self.step("process_payment", request, 20)
        self.current = "completed"
        return {
            "order_id": order_id,
            "state": self.current,
            "total": total,
            "currency": currency,
            "payment": payment,
            "notification": {"state": "none", "sent": 0, "refused": 0},
        }

    async def step(self, name: str, argument: dict, seconds: int):
        return await workflow.execute_activity(
            name,
            argument,
            start_to_close_timeout=timedelta(seconds=seconds),
            retry_policy=RETRIES,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


class Activities:
    """What an order does outside its workflow."""

    def __init__(self, pool: asyncpg.Pool, http: aiohttp.ClientSession, gateway: str) -> None:
        self.pool, self.http, self.gateway = pool, http, gateway

    @activity.defn
    async def check_order(self, sent: dict) -> dict:
        """Checks an order and completes it: no I/O."""
        order_id, total = sent["order_id"], sent["total"]
        if not ORDER_ID.fullmatch(order_id):
            raise ValueError("order_id must have 1 to 100 characters of A-Z a-z 0-9 . _ -")
        if not 1 <= total <= MAX_TOTAL:
            raise ValueError(f"total must be between 1 and {MAX_TOTAL} minor units")
        money = f"{total // 100}.{total % 100:02d} USD"
        return {
            "order_id": order_id,
            "total": total,
            "currency": "USD",
            "items": [{"sku": "standard", "quantity": 1}],
            "recipients": [],
            "subject": f"Your order {order_id}",
            "body": f"Thank you. Your order {order_id} over {money} is paid.\n",
            "cancel_window_seconds": 0,
            "task_queues": {},
            "search_attributes": False,
        }

    @activity.defn
    async def create_order(self, order: dict) -> None:
        """Writes the order down: one statement."""
        order_id = order["order_id"]
        await self.pool.execute(
            """INSERT INTO orders (order_id, workflow_id, total, currency, state, reason, message,
                                   created_at, updated_at)
               VALUES ($1, $2, $3, $4, 'created', '', '', $5, $5)
               ON CONFLICT (order_id) DO NOTHING""",
            order_id,
            workflow_id(order_id),
            order["total"],
            order["currency"],
            now(),
        )
        logging.info("order created order_id=%s", order_id)

    @activity.defn
    async def reserve_inventory(self, reservation: dict) -> None:
        """Takes all items out of the stock or none: one transaction."""
        order_id = reservation["order_id"]
        async with self.pool.acquire() as connection, connection.transaction():
            inserted = await connection.execute(
                """INSERT INTO reservations (order_id, state, updated_at) VALUES ($1, 'reserved', $2)
                   ON CONFLICT (order_id) DO NOTHING""",
                order_id,
                now(),
            )
            if inserted.endswith(" 1"):
                for item in reservation["items"]:
                    await self.take(connection, order_id, item)
        logging.info("inventory reserved order_id=%s", order_id)

    async def take(self, connection, order_id: str, item: dict) -> None:
        sku, quantity = item["sku"], item["quantity"]
        taken = await connection.execute(
            "UPDATE stock SET available = available - $2 WHERE sku = $1 AND available >= $2",
            sku,
            quantity,
        )
        if not taken.endswith(" 1"):
            raise RuntimeError(f"fewer than {quantity} pieces of {sku} are left")
        await connection.execute(
            "INSERT INTO reservation_items (order_id, sku, quantity) VALUES ($1, $2, $3)",
            order_id,
            sku,
            quantity,
        )

    @activity.defn
    async def process_payment(self, request: dict) -> dict:
        """Charges at the gateway and writes down its answer: one request, one transaction."""
        order_id, amount, currency = request["order_id"], request["amount"], request["currency"]
        key = workflow_id(order_id) + "-charge"
        post = self.http.post(
            f"{self.gateway}/charge", json=request, headers={"Idempotency-Key": key}
        )
        async with post as response:
            response.raise_for_status()
            answer = await response.json()
        if answer["status"] != "charged":
            raise RuntimeError("the gateway did not charge")
        charge_id = answer["charge_id"]
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                """INSERT INTO payments (order_id, idempotency_key, state, charge_id, amount,
                                         currency, updated_at)
                   VALUES ($1, $2, 'charged', $3, $4, $5, $6)
                   ON CONFLICT (order_id) DO UPDATE
                   SET state = excluded.state, charge_id = excluded.charge_id,
                       updated_at = excluded.updated_at
                   WHERE payments.state <> 'charged'""",
                order_id,
                key,
                charge_id,
                amount,
                currency,
                now(),
            )
            await connection.execute(
                """UPDATE orders SET state = 'paid', updated_at = $2
                   WHERE order_id = $1 AND state = 'created'""",
                order_id,
                now(),
            )
        logging.info("order paid order_id=%s amount=%s", order_id, amount)
        return {"charge_id": charge_id, "amount": answer["amount"], "settled": False}


def workflow_id(order_id: str) -> str:
    """The owner of the order; an activity started without a workflow owns it by its id."""
    return activity.info().workflow_id or f"order-{order_id}"


def now() -> str:
    return datetime.now(timezone.utc).isoformat()


def pollers() -> PollerBehaviorAutoscaling:
    return PollerBehaviorAutoscaling(minimum=2, maximum=10, initial=5)


async def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    runtime = Runtime(telemetry=TelemetryConfig(), worker_heartbeat_interval=HEARTBEAT_INTERVAL)
    client = await Client.connect(
        os.environ["TEMPORAL_ADDRESS"], runtime=runtime, grpc_compression=GrpcCompression.NONE
    )
    pool = asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=1, max_size=DATABASE_CONNECTIONS
    )
    timeout = aiohttp.ClientTimeout(total=10)
    async with pool, aiohttp.ClientSession(timeout=timeout) as http:
        activities = Activities(pool, http, os.environ["PAYMENT_GATEWAY_URL"])
        worker = Worker(
            client,
            task_queue=os.environ["TEMPORAL_TASK_QUEUE"],
            workflows=[OrderWorkflow],
            activities=[
                activities.check_order,
                activities.create_order,
                activities.reserve_inventory,
                activities.process_payment,
            ],
            max_cached_workflows=CACHED_WORKFLOWS,
            max_concurrent_activities=SLOTS,
            max_concurrent_workflow_tasks=SLOTS,
            activity_task_poller_behavior=pollers(),
            workflow_task_poller_behavior=pollers(),
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
            disable_eager_activity_execution=os.environ.get("BENCH_EAGER") != "true",
        )
        await worker.run()


# The workflow sandbox imports this file again.
if __name__ == "__main__":
    asyncio.run(main())
