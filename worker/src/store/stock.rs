//! The stock: reservations and releases, each in one transaction.

use sqlx::{Any, Row, Transaction};

use super::orders::{cancelled, conflict};
use super::pool::{Store, now};
use crate::domain::failure::{Failure, FailureType};
use crate::domain::order::Item;
use crate::domain::order::messages::Reservation;

impl Store {
    /// Takes all items out of the stock, or none. Calling it again with the same items changes
    /// nothing; with other items it is refused with `OrderConflict`.
    pub async fn reserve(&self, reservation: &Reservation) -> Result<(), Failure> {
        self.in_time(async {
            let order_id = reservation.order_id.as_str();
            let mut tx = self.begin().await?;
            // Every order locks stock in the same order, whatever order the items were sent in.
            let mut items = reservation.items.clone();
            items.sort_by(|one, other| one.sku.cmp(&other.sku));
            if !first(&mut tx, order_id, "reserved").await? {
                let state: String =
                    sqlx::query("SELECT state FROM reservations WHERE order_id = $1")
                        .bind(order_id)
                        .fetch_one(&mut *tx)
                        .await?
                        .try_get(0)?;
                if state != "reserved" {
                    return Err(cancelled(order_id));
                }
                return if reserved_items(&mut tx, order_id).await? == items {
                    Ok(())
                } else {
                    Err(conflict(order_id, "has other items in an earlier run"))
                };
            }
            for item in &items {
                // On failure the transaction is dropped, which rolls it back.
                take(&mut tx, order_id, item).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Puts back what an order took. Returns whether there was anything to put back. Afterwards the
    /// order can never reserve again. A paid order is sold: its items stay out of the stock.
    pub async fn release(&self, order_id: &str) -> Result<bool, Failure> {
        self.in_time(async {
            let mut tx = self.begin().await?;
            let never_reserved = first(&mut tx, order_id, "released").await?;
            let mut put_back = false;
            if !never_reserved {
                put_back = sqlx::query(
                    "UPDATE reservations SET state = 'released', updated_at = $2
                     WHERE order_id = $1 AND state = 'reserved' AND NOT EXISTS (
                         SELECT 1 FROM orders WHERE orders.order_id = $1 AND orders.state = \
                         'paid')",
                )
                .bind(order_id)
                .bind(now())
                .execute(&mut *tx)
                .await?
                .rows_affected()
                    == 1;
            }
            if put_back {
                for item in reserved_items(&mut tx, order_id).await? {
                    sqlx::query("UPDATE stock SET available = available + $2 WHERE sku = $1")
                        .bind(item.sku)
                        .bind(item.quantity)
                        .execute(&mut *tx)
                        .await?;
                }
            }
            tx.commit().await?;
            Ok(put_back)
        })
        .await
    }

    /// How many pieces of a SKU are available, or `None` if the SKU is unknown.
    pub async fn available(&self, sku: &str) -> Result<Option<i64>, Failure> {
        self.in_time(async {
            let row = sqlx::query("SELECT available FROM stock WHERE sku = $1")
                .bind(sku)
                .fetch_optional(&self.pool)
                .await?;
            Ok(row.map(|row| row.try_get(0)).transpose()?)
        })
        .await
    }
}

/// Records the first action on an order's stock; false if there was an earlier one.
async fn first(
    tx: &mut Transaction<'static, Any>,
    order_id: &str,
    state: &str,
) -> Result<bool, Failure> {
    let inserted = sqlx::query(
        "INSERT INTO reservations (order_id, state, updated_at) VALUES ($1, $2, $3)
         ON CONFLICT (order_id) DO NOTHING",
    )
    .bind(order_id)
    .bind(state)
    .bind(now())
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(inserted == 1)
}

/// The items that an order took, sorted by SKU. Sorted here and not by the database, whose
/// collation may differ: all transactions must lock stock in the same order.
async fn reserved_items(
    tx: &mut Transaction<'static, Any>,
    order_id: &str,
) -> Result<Vec<Item>, Failure> {
    let rows = sqlx::query("SELECT sku, quantity FROM reservation_items WHERE order_id = $1")
        .bind(order_id)
        .fetch_all(&mut **tx)
        .await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        items.push(Item {
            sku: row.try_get(0)?,
            quantity: row.try_get(1)?,
        });
    }
    items.sort_by(|one, other| one.sku.cmp(&other.sku));
    Ok(items)
}

/// Takes one item out of the stock within a reservation.
async fn take(
    tx: &mut Transaction<'static, Any>,
    order_id: &str,
    item: &Item,
) -> Result<(), Failure> {
    let taken = sqlx::query(
        "UPDATE stock SET available = available - $2 WHERE sku = $1 AND available >= $2",
    )
    .bind(item.sku.as_str())
    .bind(item.quantity)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if taken == 0 {
        let known = sqlx::query("SELECT 1 FROM stock WHERE sku = $1")
            .bind(item.sku.as_str())
            .fetch_optional(&mut **tx)
            .await?
            .is_some();
        return Err(if known {
            Failure::new(
                FailureType::OutOfStock,
                format!(
                    "fewer than {} pieces of {} are left",
                    item.quantity, item.sku
                ),
            )
        } else {
            Failure::new(
                FailureType::UnknownSku,
                format!("the SKU {} is unknown", item.sku),
            )
        });
    }
    sqlx::query("INSERT INTO reservation_items (order_id, sku, quantity) VALUES ($1, $2, $3)")
        .bind(order_id)
        .bind(item.sku.as_str())
        .bind(item.quantity)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
