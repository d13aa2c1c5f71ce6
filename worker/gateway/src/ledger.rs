//! What the stand-in knows about every key. Pure, apart from the optional file: each change is
//! appended to it as one JSON line, and when the file is read again, the last line of a key wins.

use std::collections::{BTreeMap, btree_map};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::charge::ChargeRequest;

/// The status of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Only failed attempts so far.
    Pending,
    /// Charged; final.
    Charged,
    /// Declined; final.
    Declined,
    /// Voided: will never be charged.
    Voided,
}

/// One key of the ledger. Holds no card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The idempotency key.
    pub key: String,
    /// The order; empty if the key was voided before any attempt.
    pub order_id: String,
    /// Amount in minor units.
    pub amount: i64,
    /// ISO 4217 code, as it was sent.
    pub currency: String,
    /// The current status.
    pub status: Status,
    /// The charge's id, once charged.
    pub charge_id: Option<String>,
    /// Number of requests to charge, whatever their outcome.
    pub attempts: u32,
    /// Rank by the time at which the key was first seen.
    pub number: u64,
    /// Identifies the request's body, to tell a repeated request from another one with the same
    /// key.
    fingerprint: String,
}

/// Totals of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of keys.
    pub keys: u64,
    /// Keys charged.
    pub charged: u64,
    /// Sum of the charged amounts in minor units.
    pub charged_amount: i64,
    /// Keys declined.
    pub declined: u64,
    /// Keys voided.
    pub voided: u64,
    /// Keys with only failed attempts.
    pub pending: u64,
    /// Requests to charge.
    pub attempts: u64,
    /// Orders charged under more than one key; 0 if the callers are correct.
    pub orders_charged_twice: u64,
}

/// All keys, or the latest `keep` ones.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<String, Entry>,
    /// The keys by number.
    numbers: BTreeMap<u64, String>,
    /// Maximum number of keys. Beyond it, the oldest decided keys are forgotten.
    keep: Option<usize>,
    file: Option<File>,
}

impl Ledger {
    /// Opens an empty ledger, or reads the file. Without `keep` it keeps every key.
    pub(super) fn open(path: Option<&Path>, keep: Option<usize>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self {
                keep,
                ..Self::default()
            });
        };
        let mut entries = BTreeMap::new();
        if path.exists() {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the ledger {}", path.display()))?;
            for line in text.lines() {
                // Only the last line can be cut off by a crash, and that request was never
                // answered.
                if let Ok(entry) = serde_json::from_str::<Entry>(line) {
                    entries.insert(entry.key.clone(), entry);
                }
            }
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write the ledger {}", path.display()))?;
        let number = |entry: &Entry| (entry.number, entry.key.clone());
        Ok(Self {
            numbers: entries.values().map(number).collect(),
            entries,
            keep,
            file: Some(file),
        })
    }

    /// Returns the entry of a key. For a new key, makes room and assigns the next number.
    fn entry(&mut self, key: &str, fresh: impl FnOnce(u64) -> Entry) -> &mut Entry {
        self.forget();
        match self.entries.entry(key.to_owned()) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(place) => {
                let last = self.numbers.last_key_value();
                let number = last.map_or(0, |(number, _)| *number) + 1;
                self.numbers.insert(number, key.to_owned());
                place.insert(fresh(number))
            }
        }
    }

    /// Forgets the oldest keys beyond the limit. Undecided keys are still needed.
    fn forget(&mut self) {
        let Some(keep) = self.keep else {
            return;
        };
        while self.entries.len() > keep {
            let decided = self.numbers.iter().find(|(_, key)| {
                let entry = self.entries.get(*key);
                entry.is_none_or(|entry| entry.status != Status::Pending)
            });
            let Some((number, key)) = decided.map(|(number, key)| (*number, key.clone())) else {
                return;
            };
            self.numbers.remove(&number);
            self.entries.remove(&key);
        }
    }

    /// Counts an attempt and returns the entry; `None` if the key was used with another body.
    pub(super) fn attempt(&mut self, key: &str, request: &ChargeRequest) -> Option<Entry> {
        let fingerprint = fingerprint(request);
        let entry = self.entry(key, |number| Entry {
            key: key.to_owned(),
            order_id: request.order_id.clone(),
            amount: request.amount,
            currency: request.currency.clone().unwrap_or_default(),
            status: Status::Pending,
            charge_id: None,
            attempts: 0,
            number,
            fingerprint: fingerprint.clone(),
        });
        // A key voided before any attempt has no body to compare with.
        if !entry.fingerprint.is_empty() && entry.fingerprint != fingerprint {
            return None;
        }
        entry.attempts += 1;
        let entry = entry.clone();
        self.append(&entry);
        Some(entry)
    }

    /// Decides a pending key.
    pub(super) fn close(&mut self, key: &str, status: Status) {
        let Some(entry) = self
            .entries
            .get_mut(key)
            .filter(|e| e.status == Status::Pending)
        else {
            return;
        };
        entry.status = status;
        if status == Status::Charged {
            entry.charge_id = Some(format!("ch_{:08}", entry.number));
        }
        let entry = entry.clone();
        self.append(&entry);
    }

    /// Voids a key unless it is decided. Returns the resulting entry.
    pub(super) fn void(&mut self, key: &str) -> Entry {
        self.entry(key, |number| Entry {
            key: key.to_owned(),
            order_id: String::new(),
            amount: 0,
            currency: String::new(),
            status: Status::Pending,
            charge_id: None,
            attempts: 0,
            number,
            fingerprint: String::new(),
        });
        self.close(key, Status::Voided);
        self.entries[key].clone()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// All entries, by the time at which their keys were first seen.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.entries.values().cloned().collect();
        entries.sort_by_key(|entry| entry.number);
        entries
    }

    pub(super) fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        let mut orders: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in self.entries.values() {
            summary.keys += 1;
            summary.attempts += u64::from(entry.attempts);
            match entry.status {
                Status::Pending => summary.pending += 1,
                Status::Declined => summary.declined += 1,
                Status::Voided => summary.voided += 1,
                Status::Charged => {
                    summary.charged += 1;
                    summary.charged_amount += entry.amount;
                    *orders.entry(&entry.order_id).or_default() += 1;
                }
            }
        }
        summary.orders_charged_twice = orders.values().filter(|count| **count > 1).count() as u64;
        summary
    }

    fn append(&mut self, entry: &Entry) {
        let Some(file) = &mut self.file else {
            return;
        };
        let written = serde_json::to_string(entry)
            .map_err(std::io::Error::other)
            .and_then(|line| writeln!(file, "{line}"));
        if let Err(error) = written {
            tracing::error!("the ledger's file cannot be written: {error}");
        }
    }
}

fn fingerprint(request: &ChargeRequest) -> String {
    let text = format!(
        "{}\0{}\0{}\0{}",
        request.order_id,
        request.amount,
        request.currency.as_deref().unwrap_or_default(),
        request.card.as_deref().unwrap_or_default()
    );
    let digest = Sha256::digest(text);
    let parts = digest.chunks_exact(8).map(|part| {
        part.iter()
            .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte))
    });
    parts
        .take(2)
        .fold(0_u128, |number, part| (number << 64) | u128::from(part))
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(order_id: &str, amount: i64) -> ChargeRequest {
        ChargeRequest {
            order_id: order_id.to_owned(),
            amount,
            currency: None,
            card: None,
        }
    }

    #[test]
    fn a_key_is_decided_once_and_bound_to_its_body() {
        let mut ledger = Ledger::default();
        assert!(ledger.attempt("k", &request("o", 5)).is_some());
        ledger.close("k", Status::Charged);
        ledger.close("k", Status::Declined);
        assert_eq!(ledger.void("k").status, Status::Charged);
        assert_eq!(ledger.attempt("k", &request("o", 6)), None);
        assert_eq!(
            ledger.attempt("k", &request("o", 5)).map(|e| e.attempts),
            Some(2)
        );
    }

    #[test]
    fn a_voided_key_is_never_charged() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.void("k").status, Status::Voided);
        let entry = ledger.attempt("k", &request("o", 5)).unwrap();
        assert_eq!(entry.status, Status::Voided);
        ledger.close("k", Status::Charged);
        assert_eq!(ledger.get("k").map(|e| e.status), Some(Status::Voided));
    }

    #[test]
    fn a_ledger_that_keeps_few_keys_forgets_the_oldest_that_are_decided() {
        let mut ledger = Ledger::open(None, Some(2)).unwrap();
        ledger.attempt("pending", &request("o", 5));
        for key in ["a", "b", "c", "d"] {
            ledger.attempt(key, &request("o", 5));
            ledger.close(key, Status::Charged);
        }
        let kept: Vec<(String, u64)> = ledger
            .entries()
            .into_iter()
            .map(|entry| (entry.key, entry.number))
            .collect();
        let expected = [("pending", 1), ("c", 4), ("d", 5)];
        let expected = expected.map(|(key, number)| (key.to_owned(), number));
        assert_eq!(kept, expected);
        assert_eq!(ledger.numbers.len(), ledger.entries.len());
    }

    #[test]
    fn the_summary_finds_an_order_that_was_charged_twice() {
        let mut ledger = Ledger::default();
        for (key, order, status) in [
            ("a", "o1", Status::Charged),
            ("b", "o1", Status::Charged),
            ("c", "o2", Status::Declined),
        ] {
            ledger.attempt(key, &request(order, 10));
            ledger.close(key, status);
        }
        ledger.attempt("d", &request("o3", 10));
        assert_eq!(
            ledger.summary(),
            Summary {
                keys: 4,
                charged: 2,
                charged_amount: 20,
                declined: 1,
                voided: 0,
                pending: 1,
                attempts: 4,
                orders_charged_twice: 1,
            }
        );
    }
}
