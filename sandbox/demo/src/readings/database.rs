//! The order system's database, as `psql` prints it as JSON. Pure: holds the statements, does not
//! run them.

use serde::Deserialize;

use crate::orders::Pieces;

/// What the database holds about one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Database {
    pub(crate) orders: Vec<DatabaseOrder>,
    pub(crate) payments: Vec<Payment>,
    pub(crate) reservations: Vec<Reservation>,
    pub(crate) mails: Vec<SentMail>,
    /// Pieces that can be had now, per SKU.
    pub(crate) stock: Pieces,
}

/// A row of `orders`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct DatabaseOrder {
    pub(crate) order_id: String,
    /// Minor units.
    pub(crate) total: i64,
    pub(crate) currency: String,
    /// `created`, `paid` or `cancelled`.
    pub(crate) state: String,
    /// The failure type of a cancelled order.
    pub(crate) reason: String,
}

/// A row of `payments`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Payment {
    pub(crate) order_id: String,
    /// `charged`, `declined` or `voided`.
    pub(crate) state: String,
    pub(crate) charge_id: String,
    /// Minor units.
    pub(crate) amount: i64,
    pub(crate) currency: String,
}

/// A row of `reservations` with its items.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Reservation {
    pub(crate) order_id: String,
    /// `reserved` or `released`.
    pub(crate) state: String,
    pub(crate) items: Pieces,
}

/// A row of `mails`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct SentMail {
    pub(crate) order_id: String,
    pub(crate) recipient: String,
    /// `sent` or `refused`.
    pub(crate) state: String,
}

/// How many orders of a run came to an end in the database, as the live table shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct LiveOrders {
    pub(crate) done: u64,
    pub(crate) declined: u64,
    pub(crate) cancelled: u64,
}

impl Database {
    /// The statement whose answer [`Self::parse`] reads.
    pub(crate) fn statement(run: &str) -> String {
        // A run's id holds digits and dashes only, so it can stand in the text.
        let all = |columns: &str, from: &str| {
            let fields: Vec<String> = columns
                .split(' ')
                .map(|column| format!("'{column}', {column}"))
                .collect();
            format!(
                "(SELECT coalesce(json_agg(json_build_object({}) ORDER BY order_id), '[]') FROM \
                 {from} WHERE starts_with(order_id, '{run}-'))",
                fields.join(", ")
            )
        };
        let items = "(SELECT order_id, state, (SELECT coalesce(json_object_agg(sku, quantity), \
                     '{}') FROM reservation_items i WHERE i.order_id = r.order_id) AS items FROM \
                     reservations r) AS with_items";
        format!(
            "SELECT json_build_object('orders', {}, 'payments', {}, 'reservations', {}, 'mails', \
             {}, 'stock', ({STOCK}))",
            all("order_id total currency state reason", "orders"),
            all("order_id state charge_id amount currency", "payments"),
            all("order_id state items", items),
            all("order_id recipient state", "mails"),
        )
    }

    /// Reads the answer.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text.trim()).map_err(|error| error.to_string())
    }
}

/// The statement whose answer [`stock`] reads.
pub(crate) const STOCK: &str = "SELECT coalesce(json_object_agg(sku, available), '{}') FROM stock";

/// Pieces that can be had now, per SKU.
pub(crate) fn stock(text: &str) -> Result<Pieces, String> {
    serde_json::from_str(text.trim()).map_err(|error| error.to_string())
}

/// The orders of a run that came to an end.
pub(crate) fn live_orders(text: &str) -> Result<LiveOrders, String> {
    serde_json::from_str(text.trim()).map_err(|error| error.to_string())
}

impl LiveOrders {
    /// The statement whose answer [`live_orders`] reads.
    pub(crate) fn statement(run: &str) -> String {
        let count = |condition: &str| format!("count(*) FILTER (WHERE {condition})");
        format!(
            "SELECT json_build_object('done', {}, 'declined', {}, 'cancelled', {}) FROM orders \
             WHERE starts_with(order_id, '{run}-')",
            count("state = 'paid'"),
            count("state = 'cancelled' AND reason = 'PaymentDeclined'"),
            count("state = 'cancelled' AND reason <> 'PaymentDeclined'"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_of_the_database_is_parsed() {
        let text = r#"{
            "orders" : [{"order_id" : "r-1", "total" : 100, "currency" : "USD",
                         "state" : "paid", "reason" : ""}],
            "payments" : [{"order_id" : "r-1", "state" : "charged", "charge_id" : "ch_1",
                           "amount" : 100, "currency" : "USD"}],
            "reservations" : [{"order_id" : "r-1", "state" : "reserved", "items" : { "book" : 2 }}],
            "mails" : [{"order_id" : "r-1", "recipient" : "a@example.com", "state" : "sent"}],
            "stock" : { "book" : 98, "lamp" : 7 }}
            "#;
        let parsed = Database::parse(text).unwrap();
        assert_eq!(
            parsed,
            Database {
                orders: vec![DatabaseOrder {
                    order_id: "r-1".into(),
                    total: 100,
                    currency: "USD".into(),
                    state: "paid".into(),
                    reason: String::new(),
                }],
                payments: vec![Payment {
                    order_id: "r-1".into(),
                    state: "charged".into(),
                    charge_id: "ch_1".into(),
                    amount: 100,
                    currency: "USD".into(),
                }],
                reservations: vec![Reservation {
                    order_id: "r-1".into(),
                    state: "reserved".into(),
                    items: Pieces::from([("book".to_owned(), 2)]),
                }],
                mails: vec![SentMail {
                    order_id: "r-1".into(),
                    recipient: "a@example.com".into(),
                    state: "sent".into(),
                }],
                stock: Pieces::from([("book".to_owned(), 98), ("lamp".to_owned(), 7)]),
            }
        );
        assert!(Database::parse("").is_err());
    }
}
