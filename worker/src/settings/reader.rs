//! Parses single variables into typed values. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use reqwest::Url;

use crate::domain::order::{MAX_QUEUE_LENGTH, TaskQueues};

use super::credentials::{ApiKey, TlsSettings};
use super::error::{SettingError, Variables, wrong};

/// Parses single variables. An empty variable counts as absent.
pub(super) struct Reader<'a>(pub(super) &'a Variables);

impl<'a> Reader<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn number<T>(
        &self,
        name: &str,
        default: T,
        min: T,
        max: T,
    ) -> Result<T, SettingError>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        let Some(value) = self.get(name) else {
            return Ok(default);
        };
        value
            .parse()
            .ok()
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| wrong(name, format!("must be a whole number from {min} to {max}")))
    }

    pub(super) fn seconds(
        &self,
        name: &str,
        default: u64,
        min: u64,
        max: u64,
    ) -> Result<Duration, SettingError> {
        self.number(name, default, min, max)
            .map(Duration::from_secs)
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, SettingError> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(wrong(name, "must be true or false")),
        }
    }

    pub(super) fn socket(&self, name: &str, default: &str) -> Result<SocketAddr, SettingError> {
        self.get(name).unwrap_or(default).parse().map_err(|_| {
            wrong(
                name,
                "must be an IP address and a port, such as 0.0.0.0:8080",
            )
        })
    }

    pub(super) fn http_url(&self, name: &str) -> Result<Option<Url>, SettingError> {
        self.get(name)
            .map(|value| {
                Url::parse(value)
                    .ok()
                    .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
                    .ok_or_else(|| {
                        wrong(
                            name,
                            "must be an address that begins with http:// or https://",
                        )
                    })
            })
            .transpose()
    }

    pub(super) fn smtp_url(&self, name: &str) -> Result<Option<String>, SettingError> {
        self.get(name)
            .map(|value| {
                let valid = value == crate::mail::CONSOLE
                    || Url::parse(value).is_ok_and(|url| {
                        matches!(url.scheme(), "smtp" | "smtps") && url.has_host()
                    });
                if valid {
                    Ok(value.to_owned())
                } else {
                    Err(wrong(
                        name,
                        "must be smtp://host:port, smtps://host:port, or console:",
                    ))
                }
            })
            .transpose()
    }

    pub(super) fn mailbox(&self, name: &str, default: &str) -> Result<Mailbox, SettingError> {
        self.get(name).unwrap_or(default).parse().map_err(|_| {
            wrong(
                name,
                "must be a mail address, such as Shop <orders@example.com>",
            )
        })
    }

    /// The default task queues of the activities, for orders that name none.
    pub(super) fn activity_queues(&self) -> Result<TaskQueues, SettingError> {
        Ok(TaskQueues {
            inventory: self.queue("ORDER_WORKER_INVENTORY_QUEUE")?,
            payments: self.queue("ORDER_WORKER_PAYMENTS_QUEUE")?,
            notifications: self.queue("ORDER_WORKER_NOTIFICATIONS_QUEUE")?,
        })
    }

    fn queue(&self, name: &str) -> Result<Option<String>, SettingError> {
        match self.get(name) {
            Some(queue) if queue.len() > MAX_QUEUE_LENGTH => Err(wrong(
                name,
                format!("must have 1 to {MAX_QUEUE_LENGTH} bytes"),
            )),
            queue => Ok(queue.map(str::to_owned)),
        }
    }

    pub(super) fn tls(&self) -> Result<Option<TlsSettings>, SettingError> {
        let path = |name: &str| self.get(name).map(PathBuf::from);
        let client = match (
            path("TEMPORAL_TLS_CLIENT_CERT_PATH"),
            path("TEMPORAL_TLS_CLIENT_KEY_PATH"),
        ) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(_), None) => {
                return Err(wrong(
                    "TEMPORAL_TLS_CLIENT_KEY_PATH",
                    "is missing; it goes together with TEMPORAL_TLS_CLIENT_CERT_PATH",
                ));
            }
            (None, Some(_)) => {
                return Err(wrong(
                    "TEMPORAL_TLS_CLIENT_CERT_PATH",
                    "is missing; it goes together with TEMPORAL_TLS_CLIENT_KEY_PATH",
                ));
            }
        };
        if self.boolean("TEMPORAL_TLS_DISABLE_HOST_VERIFICATION")? == Some(true) {
            return Err(wrong(
                "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION",
                "is not supported; set TEMPORAL_TLS_SERVER_NAME to the name in the certificate",
            ));
        }
        let tls = TlsSettings {
            server_name: self.get("TEMPORAL_TLS_SERVER_NAME").map(str::to_owned),
            ca: path("TEMPORAL_TLS_SERVER_CA_CERT_PATH"),
            client,
        };
        match self.boolean("TEMPORAL_TLS")? {
            Some(true) => Ok(Some(tls)),
            Some(false) if tls != TlsSettings::default() => Err(wrong(
                "TEMPORAL_TLS",
                "is false although other TEMPORAL_TLS_* are set",
            )),
            None if tls != TlsSettings::default() => Ok(Some(tls)),
            Some(false) | None => Ok(None),
        }
    }

    pub(super) fn api_key(&self) -> Result<Option<ApiKey>, SettingError> {
        if let Some(path) = self.get("TEMPORAL_API_KEY_FILE") {
            return Ok(Some(ApiKey::File(PathBuf::from(path))));
        }
        let Some(key) = self.get("TEMPORAL_API_KEY").map(str::trim) else {
            return Ok(None);
        };
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(
                "TEMPORAL_API_KEY",
                "must be visible ASCII without spaces",
            ));
        }
        Ok(Some(ApiKey::Value(key.to_owned())))
    }
}
