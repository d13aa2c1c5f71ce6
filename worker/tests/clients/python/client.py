"""A client of the order system in Python, as its users write one: it knows the names and the inputs that are documented,
and nothing of how the system is made.

    client.py ADDRESS PREFIX ORDERS [INVENTORY PAYMENTS NOTIFICATIONS]

starts orders on the task queue ORDERS, then runs a workflow of its own that calls the activities, on the queues named (by
default all on ORDERS), and prints what came of all that as one JSON object. PREFIX begins every id that it makes up. An order
of DECLINED is expected to be declined, if that variable is set.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

TOTAL = 100
TIMEOUT = timedelta(seconds=30)
LONGEST = timedelta(minutes=2)
# An activity that is expected to work must succeed at its first attempt.
ONCE = RetryPolicy(maximum_attempts=1)


@dataclass
class OrderInput:
    order_id: str
    total: int


@dataclass
class OrderInputById:
    id: str
    total: int


@dataclass
class OrderInputByBoth:
    id: str
    order_id: str
    total: int


@dataclass
class PaymentInput:
    order_id: str
    amount: int


@dataclass
class NotificationInput:
    recipients: list[str]
    subject: str
    body: str


@dataclass
class Queues:
    orders: str
    inventory: str
    payments: str
    notifications: str


async def start_order_workflow(client: Client, queue: str, order_id: str, order_data: Any) -> dict:
    handle = await client.start_workflow(
        "OrderWorkflow",
        order_data,
        id=f"order-{order_id}",
        task_queue=queue,
        execution_timeout=LONGEST,
    )
    return await handle.result()


@workflow.defn
class ShopWorkflow:
    """Calls the order system's activities with what their inputs are said to be."""

    @workflow.run
    async def run(self, order: OrderInput, queues: Queues) -> dict:
        await self.step("create_order", order, queues.orders)
        await self.step("reserve_inventory", order, queues.inventory)
        charge = PaymentInput(order_id=order.order_id, amount=order.total)
        try:
            payment = await self.step("process_payment", charge, queues.payments)
        except ActivityError as error:
            cause = error.cause
            await self.step("release_inventory", order.order_id, queues.inventory)
            await self.step("cancel_order_activity", order.order_id, queues.orders)
            if not isinstance(cause, ApplicationError):
                raise
            return {"failure": [cause.type, cause.message, cause.non_retryable]}
        mail = NotificationInput(
            recipients=["a@example.com", "b@example.com"], subject="Paid", body="Thank you.\n"
        )
        mails = await self.step("send_notification", mail, queues.notifications)
        return {"payment": payment, "mails": mails}

    async def step(self, name: str, argument: Any, queue: str) -> Any:
        return await workflow.execute_activity(
            name,
            argument,
            task_queue=queue,
            start_to_close_timeout=TIMEOUT,
            retry_policy=ONCE,
        )


@workflow.defn
class MistakenWorkflow:
    """Calls an activity with an input that cannot be read, as often as it is let."""

    @workflow.run
    async def run(self, queue: str) -> list:
        try:
            await workflow.execute_activity(
                "process_payment", {"amount": 7}, task_queue=queue, start_to_close_timeout=TIMEOUT
            )
        except ActivityError as error:
            if isinstance(error.cause, ApplicationError):
                return [error.cause.type, error.cause.non_retryable]
            raise
        return []


async def main(address: str, prefix: str, queues: Queues) -> dict:
    client = await Client.connect(address)
    by_order_id, by_id, by_both = f"{prefix}-py-1", f"{prefix}-py-2", f"{prefix}-py-3"
    orders = await asyncio.gather(
        start_order_workflow(client, queues.orders, by_order_id, OrderInput(by_order_id, TOTAL)),
        start_order_workflow(client, queues.orders, by_id, OrderInputById(by_id, TOTAL)),
        start_order_workflow(
            client, queues.orders, by_both, OrderInputByBoth(by_both, by_both, TOTAL)
        ),
    )
    own_queue = f"{prefix}-py"
    workflows = [ShopWorkflow, MistakenWorkflow]
    async with Worker(client, task_queue=own_queue, workflows=workflows):

        async def shop(order_id: str, total: int) -> dict:
            return await client.execute_workflow(
                ShopWorkflow.run,
                args=[OrderInput(order_id, total), queues],
                id=f"shop-{order_id}",
                task_queue=own_queue,
                execution_timeout=LONGEST,
            )

        done = await shop(f"{prefix}-py-4", TOTAL)
        declined = None
        if amount := os.environ.get("DECLINED"):
            declined = await shop(f"{prefix}-py-5", int(amount))
        mistaken = await client.execute_workflow(
            MistakenWorkflow.run,
            queues.payments,
            id=f"mistaken-{prefix}-py",
            task_queue=own_queue,
            execution_timeout=LONGEST,
        )
    return {"orders": orders, "activities": done, "declined": declined, "mistaken": mistaken}


# The workflow sandbox imports this file again.
if __name__ == "__main__":
    _, ADDRESS, PREFIX, ORDERS, *REST = sys.argv
    print(json.dumps(asyncio.run(main(ADDRESS, PREFIX, Queues(ORDERS, *(REST or [ORDERS] * 3))))))
    # The SDK's threads may call into the interpreter while it shuts down, which would abort the
    # process.
    sys.stdout.flush()
    os._exit(0)
