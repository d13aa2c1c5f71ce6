use serde_json::{Value, json};

use super::*;
use crate::domain::failure::{FailureType, MAX_REASON, Reason};

fn invalid(value: Value) -> String {
    OrderInput::from_value(value).parse().unwrap_err().message
}

#[test]
fn the_smallest_order_is_complete() {
    let input: OrderInput = serde_json::from_value(json!({"id": "test-1", "total": 100})).unwrap();
    assert_eq!(
        input.parse().unwrap(),
        Order {
            order_id: "test-1".to_owned(),
            total: 100,
            currency: "USD".to_owned(),
            items: vec![Item {
                sku: "standard".to_owned(),
                quantity: 1
            }],
            card: None,
            recipients: vec![],
            subject: "Your order test-1".to_owned(),
            body: "Thank you. Your order test-1 over 1.00 USD is paid.\n".to_owned(),
            cancel_window_seconds: 0,
            task_queues: TaskQueues::default(),
            search_attributes: false,
        }
    );
}

#[test]
fn a_total_is_whole_even_when_the_sender_writes_a_float() {
    let total = |value: Value| {
        OrderInput::from_value(json!({"id": "a", "total": value}))
            .parse()
            .map(|o| o.total)
    };
    assert_eq!(total(json!(100.0)).ok(), Some(100));
    assert_eq!(total(json!(MAX_TOTAL)).ok(), Some(MAX_TOTAL));
    for refused in [
        json!(0),
        json!(-5),
        json!(99.5),
        json!(1e300),
        json!("100"),
        json!(MAX_TOTAL + 1),
    ] {
        assert!(total(refused).is_err());
    }
}

#[test]
fn a_mistake_is_refused_with_the_name_of_its_field() {
    assert_eq!(invalid(json!(7)), "the order must be a JSON object");
    assert_eq!(invalid(json!({"total": 1})), "order_id is missing");
    assert_eq!(
        invalid(json!({"id": "a", "order_id": "b", "total": 1})),
        "order_id and id are two names of one field and must not differ; give one of them"
    );
    assert_eq!(
        invalid(json!({"id": "a b", "total": 1})),
        "order_id must have 1 to 100 characters of A-Z a-z 0-9 . _ -"
    );
    assert_eq!(invalid(json!({"id": "a"})), "total is missing");
    assert_eq!(
        invalid(json!({"id": "a", "total": 1, "recipients": ["a@example.com", "nobody"]})),
        "recipients[1] is not a mail address"
    );
    assert_eq!(
        invalid(json!({"id": "a", "total": 1, "items": [{"sku": "x", "quantity": 0}]})),
        "items[0].quantity must be a whole number from 1 to 1000000"
    );
    assert_eq!(
        invalid(json!({"id": "a", "total": 1, "subject": "a\r\nBcc: b@example.com"})),
        "subject must be a single line without control characters"
    );
}

#[test]
fn two_names_of_one_field_may_say_the_same() {
    let both =
        json!({"id": "a", "order_id": "a", "total": 1, "card": "tok_1", "payment_token": "tok_1"});
    let order = OrderInput::from_value(both).parse().unwrap();
    assert_eq!(order.order_id, "a");
    assert_eq!(order.card, Some(CardToken::new("tok_1")));
    let secret = invalid(json!({"id": "a", "total": 1, "card": "tok_1", "payment_token": "tok_2"}));
    assert_eq!(
        secret,
        "card and payment_token are two names of one field and must not differ; give one of them"
    );
}

#[test]
fn what_is_unknown_is_ignored_and_noted_wherever_it_stands() {
    let input = OrderInput::new("a", 1)
        .with("customer_id", json!(null))
        .with("note", "please ring")
        .with(
            "items",
            json!([{"sku": "x", "price": 7}, {"sku": "y", "gift": true}]),
        )
        .with(
            "task_queues",
            json!({"inventory": "inv", "shipping": "ship"}),
        );
    let (order, ignored) = input.parse_noting_ignored().unwrap();
    assert_eq!(
        ignored,
        [
            "customer_id",
            "note",
            "items[0].price",
            "items[1].gift",
            "task_queues.shipping"
        ]
    );
    assert_eq!(order.task_queues.inventory.as_deref(), Some("inv"));
    // The limits hold for many fields with long names.
    let many = (0..100).fold(OrderInput::new("a", 1), |input, n| {
        input.with(&format!("x{n}{}", "y".repeat(100)), n)
    });
    let (_, ignored) = many.parse_noting_ignored().unwrap();
    assert_eq!(ignored.len(), 20);
    assert!(ignored.iter().all(|name| name.len() == 40));
}

#[test]
fn a_misspelt_field_is_refused_wherever_it_stands() {
    let order = |name: &str, value: Value| {
        let mut order = json!({"id": "a", "total": 1});
        order[name] = value;
        invalid(order)
    };
    assert_eq!(
        order("items", json!([{"sku": "x"}, {"sku": "lamp", "qty": 5}])),
        r#"unknown field "items[1].qty"; did you mean quantity?"#
    );
    assert_eq!(
        order("recipeints", json!(["a@example.com"])),
        r#"unknown field "recipeints"; did you mean recipients?"#
    );
    assert_eq!(
        order("task_queues", json!({"payment": "pay"})),
        r#"unknown field "task_queues.payment"; did you mean payments?"#
    );
    // The order id is already given under its own name.
    let order = OrderInput::new("a", 1).with("order_no", 17);
    assert!(order.parse().is_ok());
}

#[test]
fn an_order_of_an_earlier_version_is_read_as_it_was() {
    let order = OrderInput::new("a", 1)
        .with("items", json!([{"sku": "lamp", "qty": 5}]))
        .with("task_queues", json!({"payment": "pay"}));
    assert!(order.parse().is_err());
    let (order, ignored) = order.parse_as_before().unwrap();
    assert_eq!(order.items[0].quantity, 1);
    assert_eq!(ignored, ["items[0].qty", "task_queues.payment"]);
    let many = OrderInput::new("a", 1).with("items", lamps(600_000, 400_001));
    assert_eq!(
        many.parse_as_before().unwrap().0.items[0].quantity,
        1_000_001
    );
    // At the top level they were never ignored.
    assert!(
        OrderInput::new("a", 1)
            .with("item", "x")
            .parse_as_before()
            .is_err()
    );
}

#[test]
fn null_is_as_good_as_nothing() {
    let nulls = json!({
        "order_id": "a", "id": null, "total": 1, "currency": null, "card": null, "recipients": null,
        "items": [{"sku": "lamp", "quantity": null}],
        "task_queues": {"inventory": null, "payments": null},
    });
    let order = OrderInput::from_value(nulls).parse().unwrap();
    let lamp = json!([{"sku": "lamp"}]);
    assert_eq!(
        order,
        OrderInput::new("a", 1).with("items", lamp).parse().unwrap()
    );
}

#[test]
fn a_card_number_is_refused_without_being_repeated() {
    let message = invalid(json!({"id": "a", "total": 1, "card": "4111-1111-1111-1111"}));
    assert_eq!(
        message,
        "card must be a token of the payment gateway, not a card number"
    );
    for number in ["4111_1111_1111_1111", "4111.1111.1111.1111"] {
        let again = invalid(json!({"id": "a", "total": 1, "card": number}));
        assert_eq!(again, message);
    }
    let order = OrderInput::new("a", 1)
        .with("card", "tok_1234567890123456")
        .parse()
        .unwrap();
    assert_eq!(order.card, Some(CardToken::new("tok_1234567890123456")));
    assert!(!format!("{order:?}").contains("tok_"));
}

#[test]
fn a_reason_is_one_line_that_every_database_holds() {
    let reason = |words: &str| Reason::in_words(FailureType::CancelledByCustomer, words).message;
    assert_eq!(reason("too dear"), "too dear");
    assert_eq!(reason(" a\0b\r\nc\u{1b}[1m "), "a b  c [1m");
    assert_eq!(reason(&"ü".repeat(MAX_REASON + 1)), "ü".repeat(MAX_REASON));
}

#[test]
fn items_are_merged_and_sorted_by_sku_and_recipients_kept_once() {
    let order = OrderInput::new("a", 1)
        .with(
            "items",
            json!([{"sku": "z"}, {"sku": "b", "quantity": 2}, {"sku": "z", "quantity": 3}]),
        )
        .with(
            "recipients",
            json!(["b@example.com", "a@example.com", "b@example.com"]),
        )
        .parse()
        .unwrap();
    assert_eq!(
        order.items,
        vec![
            Item {
                sku: "b".to_owned(),
                quantity: 2
            },
            Item {
                sku: "z".to_owned(),
                quantity: 4
            }
        ]
    );
    assert_eq!(order.recipients, vec!["b@example.com", "a@example.com"]);
}

/// Two items of one SKU.
fn lamps(one: i64, other: i64) -> Value {
    json!([{"sku": "lamp", "quantity": one}, {"sku": "lamp", "quantity": other}])
}

#[test]
fn the_limit_of_pieces_holds_for_all_items_of_a_sku_together() {
    let order = |items: Value| OrderInput::new("a", 1).with("items", items).parse();
    let full = order(lamps(600_000, 400_000)).unwrap();
    assert_eq!(full.items[0].quantity, 1_000_000);
    assert_eq!(
        order(lamps(600_000, 400_001)).unwrap_err().message,
        "items must have at most 1000000 pieces of one sku; they have 1000001 of lamp"
    );
}

#[test]
fn an_orders_own_queues_go_before_the_workers() {
    let queues = |inventory: &str, payments: &str| TaskQueues {
        inventory: Some(inventory.to_owned()).filter(|q| !q.is_empty()),
        payments: Some(payments.to_owned()).filter(|q| !q.is_empty()),
        notifications: None,
    };
    assert_eq!(
        queues("own", "").or(&queues("inv", "pay")),
        queues("own", "pay")
    );
}

#[test]
fn queues_of_the_command_line_fill_only_what_the_order_leaves_open() {
    let defaults = TaskQueues {
        inventory: Some("inv".to_owned()),
        payments: Some("pay".to_owned()),
        notifications: None,
    };
    let order = OrderInput::new("a", 1)
        .with("task_queues", json!({"payments": "own"}))
        .with_default_queues(&defaults)
        .parse()
        .unwrap();
    assert_eq!(
        order.task_queues,
        TaskQueues {
            inventory: Some("inv".to_owned()),
            payments: Some("own".to_owned()),
            notifications: None,
        }
    );
    assert_eq!(
        OrderInput::new("a", 1).with_default_queues(&TaskQueues::default()),
        OrderInput::new("a", 1)
    );
}

#[test]
fn an_amount_has_as_many_decimals_as_its_currency() {
    for (amount, currency, shown) in [
        (12_345, "USD", "123.45 USD"),
        (5, "EUR", "0.05 EUR"),
        (100, "JPY", "100 JPY"),
        (100, "KRW", "100 KRW"),
        (12_345, "KWD", "12.345 KWD"),
        (5, "TND", "0.005 TND"),
        (12_345, "CLF", "1.2345 CLF"),
    ] {
        assert_eq!(money(amount, currency), shown);
    }
    let order = OrderInput::new("yen", 100).with("currency", "JPY");
    assert!(
        order
            .parse()
            .unwrap()
            .body
            .contains(" over 100 JPY is paid.")
    );
}
