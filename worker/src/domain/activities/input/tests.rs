use serde_json::json;

use super::*;
use crate::domain::order::Item;

const CALLER: Caller<'static> = Caller {
    workflow_id: "shop-7",
    run_id: "run",
    activity_id: "3",
    scheduled: Some(SystemTime::UNIX_EPOCH),
};

fn payload(encoding: Option<&str>, data: &[u8]) -> Payload {
    let encoding = encoding.map(|name| ("encoding".to_owned(), name.as_bytes().to_vec()));
    Payload {
        metadata: encoding.into_iter().collect(),
        data: data.to_vec(),
        ..Payload::default()
    }
}

fn sent(value: &Value) -> Vec<Payload> {
    vec![payload(Some("json/plain"), value.to_string().as_bytes())]
}

fn given<T: Input>(value: &Value) -> T {
    let (input, ignored) = read(&sent(value), &CALLER).unwrap();
    assert_eq!(ignored, Vec::<String>::new(), "{value}");
    input
}

fn refused<T: Input + std::fmt::Debug>(value: &Value) -> String {
    read::<T>(&sent(value), &CALLER).unwrap_err()
}

#[test]
fn what_the_reference_client_sends_is_enough() {
    let whole = json!({"id": "a", "total": 100});
    let created = CreateOrder {
        order_id: "a".to_owned(),
        total: 100,
        currency: "USD".to_owned(),
        first_run_id: None,
    };
    let standard = Reservation {
        order_id: "a".to_owned(),
        items: vec![Item {
            sku: "standard".to_owned(),
            quantity: 1,
        }],
    };
    let charge = PaymentRequest {
        order_id: "a".to_owned(),
        amount: 100,
        currency: "USD".to_owned(),
        card: None,
        attempts: None,
        asked_since: None,
    };
    for order in [
        whole,
        json!({"order_id": "a", "total": 100}),
        json!({"order_id": "a", "id": "a", "total": 100.0, "currency": null}),
    ] {
        assert_eq!(given::<CreateOrder>(&order), created);
        assert_eq!(given::<Reservation>(&order), standard);
        assert_eq!(given::<PaymentRequest>(&order), charge);
        assert_eq!(given::<ReleaseInventory>(&order).order_id, "a");
        let cancelled = given::<CancelOrder>(&order);
        assert_eq!(cancelled.reason.kind, "CancelledByRequest");
    }
    let payment = json!({"order_id": "a", "amount": 100});
    assert_eq!(given::<PaymentRequest>(&payment), charge);
    let mailing: Mailing = given(&json!({
        "recipients": ["a@example.com", "b@example.com", "a@example.com"],
        "subject": "s", "body": "b",
    }));
    assert_eq!(mailing.recipients, ["a@example.com", "b@example.com"]);
    assert_eq!(
        (mailing.subject.as_str(), mailing.body.as_str()),
        ("s", "b")
    );
    assert!(is_order_id(&mailing.order_id), "{}", mailing.order_id);
}

#[test]
fn the_id_alone_is_enough_where_nothing_else_is_needed() {
    let id = json!("a");
    assert_eq!(given::<CancelOrder>(&id).order_id, "a");
    assert_eq!(given::<ReleaseInventory>(&id).order_id, "a");
    assert_eq!(given::<Reservation>(&id).items.len(), 1);
    assert_eq!(refused::<PaymentRequest>(&id), "it must be a JSON object");
}

#[test]
fn a_reason_is_taken_as_it_comes() {
    for (reason, kind, message) in [
        (json!("too dear\u{0}"), "CancelledByRequest", "too dear"),
        (json!({"type": "Fraud", "message": "a\nb"}), "Fraud", "a b"),
        (json!({"message": "m"}), "CancelledByRequest", "m"),
        (json!({}), "CancelledByRequest", ""),
    ] {
        let cancel: CancelOrder = given(&json!({"id": "a", "reason": reason}));
        let taken = (cancel.reason.kind.as_str(), cancel.reason.message.as_str());
        assert_eq!(taken, (kind, message));
    }
    let number = json!({"id": "a", "reason": 7});
    assert!(refused::<CancelOrder>(&number).starts_with("reason must be"));
}

#[test]
fn mails_without_an_order_are_those_of_one_activity() {
    let mailing = json!({"recipients": [], "subject": "s"});
    let id = |caller: &Caller<'_>| {
        let (mailing, _) = read::<Mailing>(&sent(&mailing), caller).unwrap();
        mailing.order_id
    };
    // All attempts share the id; a second activity of the workflow gets another.
    assert_eq!(id(&CALLER), id(&CALLER));
    assert!(id(&CALLER).starts_with("shop-7-"));
    let again = Caller {
        activity_id: "4",
        ..CALLER
    };
    assert_ne!(id(&CALLER), id(&again));
    let odd = Caller {
        workflow_id: "a b/c\r\n@",
        ..CALLER
    };
    assert!(is_order_id(&id(&odd)), "{}", id(&odd));
    let named = json!({"id": "a", "recipients": [], "subject": "s"});
    assert_eq!(given::<Mailing>(&named).order_id, "a");
}

#[test]
fn a_wrong_field_is_named_and_an_unknown_one_noted() {
    let create = refused::<CreateOrder>;
    assert_eq!(create(&json!({"total": 1})), "order_id is missing");
    assert_eq!(create(&json!({"id": "a"})), "total is missing");
    assert_eq!(
        create(&json!({"id": "a", "totla": 1})),
        r#"unknown field "totla"; did you mean total?"#
    );
    assert!(create(&json!({"id": "a", "total": 0})).starts_with("total must be between"));
    assert_eq!(
        refused::<Reservation>(&json!({"id": "a", "items": [{"sku": "lamp", "qty": 5}]})),
        r#"unknown field "items[0].qty"; did you mean quantity?"#
    );
    let mail = refused::<Mailing>;
    assert_eq!(mail(&json!({"subject": "s"})), "recipients is missing");
    assert_eq!(mail(&json!({"recipients": []})), "subject is missing");
    assert_eq!(
        mail(&json!({"recipients": ["nobody"], "subject": "s"})),
        "recipients[0] is not a mail address"
    );
    let card = json!({"id": "a", "amount": 1, "card": "4111111111111111"});
    assert!(!refused::<PaymentRequest>(&card).contains("4111"));

    let order = json!({"id": "a", "total": 1, "items": [], "note": "n", "recipients": []});
    let (_, ignored) = read::<CreateOrder>(&sent(&order), &CALLER).unwrap();
    // The other fields of an order are expected and not reported.
    assert_eq!(ignored, ["note"]);
}

#[test]
fn whatever_payloads_are_sent_they_are_read_or_refused() {
    let id = br#"{"id":"a"}"#;
    for encoding in [None, Some("json/plain"), Some("json/protobuf")] {
        let release = read::<ReleaseInventory>(&[payload(encoding, id)], &CALLER);
        assert_eq!(release.unwrap().0.order_id, "a");
    }
    let json = |data: &[u8]| vec![payload(Some("json/plain"), data)];
    let nested = "[".repeat(10_000);
    for (payloads, problem) in [
        (vec![], "it is missing; send one JSON object"),
        (
            vec![payload(None, b"1"), payload(None, b"2")],
            "it is one JSON object, not 2 arguments",
        ),
        (
            vec![payload(Some("binary/null"), b"")],
            "it is null; send a JSON object",
        ),
        (json(b"null"), "it is null; send a JSON object"),
        (json(b"7"), "it must be a JSON object"),
        (json(b"[]"), "it must be a JSON object"),
        (
            json(b"\"a b\""),
            "order_id must have 1 to 100 characters of A-Z a-z 0-9 . _ -",
        ),
        (
            json(b"{\"id\": secret"),
            "it is not JSON (line 1, column 8)",
        ),
        (json(b"\xff"), "it is not JSON (line 1, column 1)"),
        (
            json(nested.as_bytes()),
            "it is not JSON (line 1, column 128)",
        ),
        (
            vec![payload(Some("binary/encrypted"), id)],
            r#"its encoding "binary/encrypted" cannot be read here; send json/plain"#,
        ),
        (
            vec![payload(Some("binary/protobuf"), b"\x08\x01")],
            r#"its encoding "binary/protobuf" cannot be read here; send json/plain"#,
        ),
    ] {
        let read = read::<ReleaseInventory>(&payloads, &CALLER);
        assert_eq!(read.map(|(input, _)| input), Err(problem.to_owned()));
    }
}

#[test]
fn several_mailings_of_an_order_are_told_apart_by_their_names() {
    let mailing = |mailing: Value| {
        json!({
            "order_id": "a", "mailing": mailing, "recipients": [], "subject": "s",
        })
    };
    assert_eq!(given::<Mailing>(&mailing(json!(null))).order_id, "a");
    let shipped = mailing(json!("shipped"));
    assert_eq!(given::<Mailing>(&shipped).order_id, "a/shipped");
    let counted = json!({"order_id": "a", "mailing": "shipped"});
    assert_eq!(given::<CountMails>(&counted).order_id, "a/shipped");
    for wrong in [json!(""), json!("a b"), json!("a/b"), json!(7)] {
        let problem = refused::<Mailing>(&mailing(wrong));
        assert!(problem.starts_with("mailing must have"), "{problem}");
    }
}
