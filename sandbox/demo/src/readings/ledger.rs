//! The ledger of the payment gateway: `GET /ledger`. Pure.

use serde::Deserialize;

/// One idempotency key of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct LedgerEntry {
    /// The idempotency key.
    pub(crate) key: String,
    /// Empty if the key was voided before anything was tried.
    pub(crate) order_id: String,
    /// Minor units.
    pub(crate) amount: i64,
    pub(crate) currency: String,
    /// `pending`, `charged`, `declined` or `voided`.
    pub(crate) status: String,
    pub(crate) charge_id: Option<String>,
    /// Requests to charge, whatever came of them.
    pub(crate) attempts: u64,
}

/// The keys of one run.
pub(crate) fn ledger(text: &str, run: &str) -> Result<Vec<LedgerEntry>, String> {
    let all: Vec<LedgerEntry> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let order = format!("{run}-");
    let key = format!("order-{run}-");
    Ok(all
        .into_iter()
        .filter(|charge| charge.order_id.starts_with(&order) || charge.key.starts_with(&key))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keys_of_the_run_are_kept_even_those_without_an_order() {
        let text = r#"[
            {"key":"order-r1-7-charge","order_id":"r1-7","amount":100,"currency":"USD",
             "status":"charged","charge_id":"ch_1","attempts":3,"number":1,"fingerprint":"x"},
            {"key":"order-r2-7-charge","order_id":"r2-7","amount":100,"currency":"USD",
             "status":"declined","charge_id":null,"attempts":1,"number":2,"fingerprint":"x"},
            {"key":"order-r1-8-charge","order_id":"","amount":0,"currency":"","status":"voided",
             "charge_id":null,"attempts":0,"number":3,"fingerprint":""}]"#;
        let charge = |key: &str,
                      order: &str,
                      amount,
                      currency: &str,
                      status: &str,
                      id: Option<&str>,
                      attempts| LedgerEntry {
            key: key.into(),
            order_id: order.into(),
            amount,
            currency: currency.into(),
            status: status.into(),
            charge_id: id.map(str::to_owned),
            attempts,
        };
        assert_eq!(
            ledger(text, "r1"),
            Ok(vec![
                charge(
                    "order-r1-7-charge",
                    "r1-7",
                    100,
                    "USD",
                    "charged",
                    Some("ch_1"),
                    3
                ),
                charge("order-r1-8-charge", "", 0, "", "voided", None, 0),
            ])
        );
        assert!(ledger("{}", "r1").is_err());
    }
}
