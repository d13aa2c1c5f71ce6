//! Where activities run: roles on separate queues, the worker's settings, and the queues in an
//! order.

use order_worker::domain::order::{OrderInput, OrderState};
use serde_json::json;

use crate::history::{contains_in_order, events_of, summary};
use crate::orders::state_of;
use crate::support::{Shop, eventually};

#[tokio::test]
async fn each_role_works_on_its_own_queue() {
    let shop = Shop::open("roles-orders").await;
    let mut workers = Vec::new();
    for role in ["orders", "inventory", "payments", "notifications"] {
        let queue = format!("roles-{role}");
        let more = [
            ("ORDER_WORKER_ROLE", role),
            ("TEMPORAL_TASK_QUEUE", queue.as_str()),
        ];
        workers.push((role, shop.worker_with(&more).await));
    }
    let result = shop
        .run(
            OrderInput::new("roles-1", 100)
                .with("recipients", json!(["roles@example.com"]))
                .with(
                    "task_queues",
                    json!({
                        "inventory": "roles-inventory",
                        "payments": "roles-payments",
                        "notifications": "roles-notifications",
                    }),
                ),
        )
        .await;
    assert_eq!(result.state, OrderState::Completed);
    assert_eq!(result.notification.sent, 1);
    for (role, worker) in workers {
        let metrics = worker.metrics().await;
        let played: Vec<&str> = metrics
            .lines()
            .filter_map(|line| line.strip_prefix("taskqueue_worker_activities_total{activity=\""))
            .collect();
        let expected: &[&str] = match role {
            "orders" => &[
                r#"check_order",outcome="completed"} 1"#,
                r#"create_order",outcome="completed"} 1"#,
            ],
            "inventory" => &[r#"reserve_inventory",outcome="completed"} 1"#],
            "payments" => &[r#"process_payment",outcome="completed"} 1"#],
            _ => &[r#"send_notification",outcome="completed"} 1"#],
        };
        assert_eq!(played, expected, "role {role}");
        worker.drain().await;
    }
}

#[tokio::test]
async fn the_queues_of_an_order_override_those_of_the_worker_settings() {
    let shop = Shop::open("own-queues").await;
    let nobody = [
        ("ORDER_WORKER_ROLE", "orders"),
        ("ORDER_WORKER_INVENTORY_QUEUE", "own-queues-rest"),
        ("ORDER_WORKER_PAYMENTS_QUEUE", "own-queues-nobody"),
    ];
    let rest = [("TEMPORAL_TASK_QUEUE", "own-queues-rest")];
    let workers = [
        shop.worker_with(&nobody).await,
        shop.worker_with(&rest).await,
    ];
    let own = json!({"payments": "own-queues-rest", "inventory": null});
    let ended = shop
        .run(OrderInput::new("own-queues-1", 100).with("task_queues", own))
        .await;
    assert_eq!(ended.state, OrderState::Completed);
    let [orders, rest] = workers;
    // It has no queue setting for mails and does not send them itself.
    let log = orders.drain().await;
    assert!(
        log.contains("ORDER_WORKER_NOTIFICATIONS_QUEUE is not set"),
        "{log}"
    );
    assert!(
        !log.contains("ORDER_WORKER_PAYMENTS_QUEUE is not set"),
        "{log}"
    );
    rest.drain().await;
}

#[tokio::test]
async fn a_running_order_uses_a_changed_setting_from_its_next_step() {
    let shop = Shop::open("changed-queues").await;
    let orders = |payments: &'static str| {
        [
            ("ORDER_WORKER_ROLE", "orders"),
            ("ORDER_WORKER_INVENTORY_QUEUE", "changed-queues-rest"),
            ("ORDER_WORKER_PAYMENTS_QUEUE", payments),
            ("ORDER_WORKER_NOTIFICATIONS_QUEUE", "changed-queues-rest"),
        ]
    };
    let rest = shop
        .worker_with(&[("TEMPORAL_TASK_QUEUE", "changed-queues-rest")])
        .await;
    let before = shop.worker_with(&orders("changed-queues-nobody")).await;
    let input = OrderInput::new("changed-1", 100).with("cancel_window_seconds", 5);
    let order = shop.place(input).await;
    eventually("the cancel window is open", async || {
        (state_of(&shop, "changed-1").await == OrderState::Waiting).then_some(())
    })
    .await;
    before.drain().await;
    // It has to replay what the previous worker started.
    let after = shop.worker_with(&orders("changed-queues-rest")).await;
    assert_eq!(shop.end_of(&order).await.state, OrderState::Completed);
    let summary = summary(&events_of(&order).await);
    let lines = [
        "reserve_inventory scheduled on changed-queues-rest",
        "process_payment scheduled on changed-queues-rest",
        "order completed: completed",
    ];
    assert!(contains_in_order(&summary, &lines), "{summary:#?}");
    let log = after.drain().await;
    assert!(!log.contains("TMPRL1100"), "{log}");
    rest.drain().await;
}
