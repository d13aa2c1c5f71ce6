//! The settings of the process, read from the environment. Pure: the variables are passed in and no
//! file is opened. Every error is one sentence that names the variable and the allowed values.
//!
//! clap's `env` does not fit: its messages repeat the value, which may be a credential; it takes an
//! empty variable for a value; and rules that span two variables would still need a check of their
//! own.

mod credentials;
mod database;
mod error;
mod reader;

use std::net::SocketAddr;
use std::time::Duration;

use lettre::message::Mailbox;
use reqwest::Url;

use crate::domain::order::TaskQueues;
use error::wrong;
use reader::Reader;

pub use credentials::{ApiKey, TlsSettings};
pub use database::database_url;
pub use error::{SettingError, Variables};

/// How to reach Temporal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemporalSettings {
    /// `TEMPORAL_ADDRESS`, host:port, default `localhost:7233`.
    pub address: String,
    /// `TEMPORAL_NAMESPACE`, default `default`.
    pub temporal_namespace: String,
    /// `TEMPORAL_TASK_QUEUE`, default `order-processing`.
    pub task_queue: String,
    /// Present if any `TEMPORAL_TLS*` asks for TLS.
    pub tls: Option<TlsSettings>,
    /// `TEMPORAL_API_KEY_FILE` (reloaded) or `TEMPORAL_API_KEY`.
    pub api_key: Option<ApiKey>,
    /// The deployment version, if `TEMPORAL_DEPLOYMENT_NAME` and `TEMPORAL_WORKER_BUILD_ID` are
    /// set. It turns worker versioning on.
    pub deployment: Option<(String, String)>,
}

/// The part of the order system that a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// All workflows and activities, on one queue.
    All,
    /// `OrderWorkflow`, `create_order`, `cancel_order_activity`.
    Orders,
    /// `reserve_inventory`, `release_inventory`.
    Inventory,
    /// `process_payment`, `settle_payment`.
    Payments,
    /// `send_notification`.
    Notifications,
}

impl Role {
    fn parse(value: &str) -> Option<Self> {
        Some(match value {
            "all" => Self::All,
            "orders" => Self::Orders,
            "inventory" => Self::Inventory,
            "payments" => Self::Payments,
            "notifications" => Self::Notifications,
            _ => return None,
        })
    }

    /// Whether a process of this role also runs what belongs to `other`.
    pub fn plays(self, other: Self) -> bool {
        self == Self::All || self == other
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// The settings of `order-worker run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The connection to Temporal.
    pub temporal: TemporalSettings,
    /// `ORDER_WORKER_ROLE`, default `all`.
    pub role: Role,
    /// `ORDER_WORKER_INVENTORY_QUEUE`, `ORDER_WORKER_PAYMENTS_QUEUE`,
    /// `ORDER_WORKER_NOTIFICATIONS_QUEUE`: task queues of the workflow's activities, unless the
    /// order names others. Default: the workflow's own queue.
    pub activity_queues: TaskQueues,
    /// `DATABASE_URL`, default `sqlite://orders.db?mode=rwc`.
    pub database_url: String,
    /// `ORDER_WORKER_DATABASE_CONNECTIONS`, 1 to 100, default 4.
    pub database_connections: u32,
    /// `PAYMENT_GATEWAY_URL`; required by the role payments unless standalone.
    pub payment_gateway_url: Option<Url>,
    /// `SMTP_URL`; required by the role notifications unless standalone.
    pub smtp_url: Option<String>,
    /// `MAIL_FROM`, default `orders@example.com`.
    pub mail_from: Mailbox,
    /// `ORDER_WORKER_HTTP_ADDRESS`, default `0.0.0.0:8080`.
    pub http_address: SocketAddr,
    /// `ORDER_WORKER_ACTIVITY_SLOTS`, 1 to 10,000, default 100.
    pub activity_slots: usize,
    /// `ORDER_WORKER_WORKFLOW_SLOTS`, 2 to 10,000, default 100.
    pub workflow_slots: usize,
    /// `ORDER_WORKER_CACHED_WORKFLOWS`, 0 to 100,000, default 1000.
    pub cached_workflows: usize,
    /// `ORDER_WORKER_MAX_POLLERS`, 2 to 100, default 10: maximum number of concurrent polls for
    /// each kind of task.
    pub max_pollers: usize,
    /// `ORDER_WORKER_QUEUE_ACTIVITIES_PER_SECOND`: limit for the whole task queue, off by default.
    pub queue_activities_per_second: Option<u32>,
    /// `ORDER_WORKER_HEARTBEAT_INTERVAL_SECONDS`, 0 (never) to 60, default 5: how often the worker
    /// reports its slots to the server.
    pub heartbeat_interval: Duration,
    /// `ORDER_WORKER_RECYCLE_AFTER_ACTIVITIES`, 0 (never) or from 100, default 5,000.
    pub recycle_after: u64,
    /// `TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS`, default 30.
    pub drain_grace: Duration,
}

impl Settings {
    /// Reads the settings of `run`. Standalone, the gateway and the mail server are optional.
    pub fn from_variables(variables: &Variables, standalone: bool) -> Result<Self, SettingError> {
        let vars = Reader(variables);
        let role = match vars.get("ORDER_WORKER_ROLE") {
            None => Role::All,
            Some(value) => Role::parse(value).ok_or_else(|| {
                wrong(
                    "ORDER_WORKER_ROLE",
                    "must be one of all, orders, inventory, payments, notifications",
                )
            })?,
        };
        let settings = Self {
            temporal: TemporalSettings::from_variables(variables)?,
            role,
            activity_queues: vars.activity_queues()?,
            database_url: database_url(variables)?,
            database_connections: vars.number("ORDER_WORKER_DATABASE_CONNECTIONS", 4, 1, 100)?,
            payment_gateway_url: vars.http_url("PAYMENT_GATEWAY_URL")?,
            smtp_url: vars.smtp_url("SMTP_URL")?,
            mail_from: vars.mailbox("MAIL_FROM", "orders@example.com")?,
            http_address: vars.socket("ORDER_WORKER_HTTP_ADDRESS", "0.0.0.0:8080")?,
            activity_slots: vars.number("ORDER_WORKER_ACTIVITY_SLOTS", 100, 1, 10_000)?,
            workflow_slots: vars.number("ORDER_WORKER_WORKFLOW_SLOTS", 100, 2, 10_000)?,
            cached_workflows: vars.number("ORDER_WORKER_CACHED_WORKFLOWS", 1000, 0, 100_000)?,
            max_pollers: vars.number("ORDER_WORKER_MAX_POLLERS", 10, 2, 100)?,
            queue_activities_per_second: vars
                .get("ORDER_WORKER_QUEUE_ACTIVITIES_PER_SECOND")
                .map(|_| vars.number("ORDER_WORKER_QUEUE_ACTIVITIES_PER_SECOND", 1, 1, 1_000_000))
                .transpose()?,
            heartbeat_interval: vars.seconds(
                "ORDER_WORKER_HEARTBEAT_INTERVAL_SECONDS",
                5,
                0,
                60,
            )?,
            recycle_after: vars.number(
                "ORDER_WORKER_RECYCLE_AFTER_ACTIVITIES",
                5_000,
                0,
                u64::MAX,
            )?,
            drain_grace: vars.seconds("TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS", 30, 0, 86_400)?,
        };
        if (1..100).contains(&settings.recycle_after) {
            return Err(wrong(
                "ORDER_WORKER_RECYCLE_AFTER_ACTIVITIES",
                "must be 0 (never) or at least 100",
            ));
        }
        settings.check_role(standalone)?;
        Ok(settings)
    }

    fn check_role(&self, standalone: bool) -> Result<(), SettingError> {
        if standalone {
            return Ok(());
        }
        if self.role.plays(Role::Payments) && self.payment_gateway_url.is_none() {
            return Err(wrong(
                "PAYMENT_GATEWAY_URL",
                "is missing; set it to the http or https address of the payment gateway, or run with --standalone",
            ));
        }
        if self.role.plays(Role::Notifications) && self.smtp_url.is_none() {
            return Err(wrong(
                "SMTP_URL",
                "is missing; set it to smtp://host:port, or to console: to write mails to the log, or run with --standalone",
            ));
        }
        Ok(())
    }
}

impl Settings {
    /// Variables that must be set for orders that name no queue: without them, activities go to the
    /// workflow's own queue, where only workers of this role poll, which do not run those
    /// activities. Such orders wait forever.
    pub fn missing_queues(&self) -> Vec<&'static str> {
        let queues = &self.activity_queues;
        [
            (
                Role::Inventory,
                &queues.inventory,
                "ORDER_WORKER_INVENTORY_QUEUE",
            ),
            (
                Role::Payments,
                &queues.payments,
                "ORDER_WORKER_PAYMENTS_QUEUE",
            ),
            (
                Role::Notifications,
                &queues.notifications,
                "ORDER_WORKER_NOTIFICATIONS_QUEUE",
            ),
        ]
        .into_iter()
        .filter(|(role, queue, _)| {
            self.role.plays(Role::Orders) && !self.role.plays(*role) && queue.is_none()
        })
        .map(|(_, _, variable)| variable)
        .collect()
    }
}

impl TemporalSettings {
    /// Reads the connection settings, which the client commands need as well.
    pub fn from_variables(variables: &Variables) -> Result<Self, SettingError> {
        let vars = Reader(variables);
        let address = vars
            .get("TEMPORAL_ADDRESS")
            .unwrap_or("localhost:7233")
            .to_owned();
        let valid = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|p| p > 0)
        });
        if !valid || Url::parse(&format!("http://{address}")).is_err() {
            return Err(wrong(
                "TEMPORAL_ADDRESS",
                "must be host:port, without a scheme",
            ));
        }
        let tls = vars.tls()?;
        let api_key = vars.api_key()?;
        if api_key.is_some() && tls.is_none() {
            return Err(wrong(
                if vars.get("TEMPORAL_API_KEY_FILE").is_some() {
                    "TEMPORAL_API_KEY_FILE"
                } else {
                    "TEMPORAL_API_KEY"
                },
                "needs TLS, or the key would travel in clear: set TEMPORAL_TLS=true",
            ));
        }
        let deployment = match (
            vars.get("TEMPORAL_DEPLOYMENT_NAME"),
            vars.get("TEMPORAL_WORKER_BUILD_ID"),
        ) {
            (None, None) => None,
            (Some(name), Some(build)) => Some((name.to_owned(), build.to_owned())),
            (Some(_), None) => {
                return Err(wrong(
                    "TEMPORAL_WORKER_BUILD_ID",
                    "is missing; it goes together with TEMPORAL_DEPLOYMENT_NAME",
                ));
            }
            (None, Some(_)) => {
                return Err(wrong(
                    "TEMPORAL_DEPLOYMENT_NAME",
                    "is missing; it goes together with TEMPORAL_WORKER_BUILD_ID",
                ));
            }
        };
        Ok(Self {
            address,
            temporal_namespace: vars
                .get("TEMPORAL_NAMESPACE")
                .unwrap_or("default")
                .to_owned(),
            task_queue: vars
                .get("TEMPORAL_TASK_QUEUE")
                .unwrap_or("order-processing")
                .to_owned(),
            tls,
            api_key,
            deployment,
        })
    }
}

/// The task queues that `start` writes into an order, from the same variables as `run`.
pub fn task_queues(variables: &Variables) -> Result<TaskQueues, SettingError> {
    Reader(variables).activity_queues()
}

/// `ORDER_WORKER_LOG_FORMAT`, default `text`.
pub fn log_format(variables: &Variables) -> Result<LogFormat, SettingError> {
    match Reader(variables).get("ORDER_WORKER_LOG_FORMAT") {
        None | Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(_) => Err(wrong("ORDER_WORKER_LOG_FORMAT", "must be json or text")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn mistake(pairs: &[(&str, &str)]) -> String {
        let mut vars = variables(&[
            ("PAYMENT_GATEWAY_URL", "http://gw"),
            ("SMTP_URL", "console:"),
        ]);
        vars.extend(variables(pairs));
        Settings::from_variables(&vars, false)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_laptop_needs_no_variable_at_all() {
        let settings = Settings::from_variables(&Variables::new(), true).unwrap();
        assert_eq!(settings.role, Role::All);
        assert_eq!(settings.temporal.address, "localhost:7233");
        assert_eq!(settings.temporal.temporal_namespace, "default");
        assert_eq!(settings.temporal.task_queue, "order-processing");
        assert_eq!(settings.database_url, "sqlite://orders.db?mode=rwc");
    }

    #[test]
    fn a_role_needs_only_what_it_uses() {
        let role = |role: &str| {
            Settings::from_variables(&variables(&[("ORDER_WORKER_ROLE", role)]), false)
                .map_err(|error| error.variable)
        };
        assert!(role("orders").is_ok());
        assert!(role("inventory").is_ok());
        assert_eq!(role("payments").unwrap_err(), "PAYMENT_GATEWAY_URL");
        assert_eq!(role("notifications").unwrap_err(), "SMTP_URL");
        assert_eq!(role("all").unwrap_err(), "PAYMENT_GATEWAY_URL");
    }

    #[test]
    fn a_worker_of_orders_alone_says_which_queues_it_does_not_know() {
        let missing = |pairs: &[(&str, &str)]| {
            let settings = Settings::from_variables(&variables(pairs), true);
            settings.unwrap().missing_queues()
        };
        assert_eq!(missing(&[]), Vec::<&str>::new());
        assert_eq!(
            missing(&[("ORDER_WORKER_ROLE", "inventory")]),
            Vec::<&str>::new()
        );
        let orders = ("ORDER_WORKER_ROLE", "orders");
        assert_eq!(
            missing(&[orders, ("ORDER_WORKER_PAYMENTS_QUEUE", "pay")]),
            [
                "ORDER_WORKER_INVENTORY_QUEUE",
                "ORDER_WORKER_NOTIFICATIONS_QUEUE"
            ]
        );
        assert_eq!(
            mistake(&[("ORDER_WORKER_PAYMENTS_QUEUE", &"q".repeat(201))]),
            "ORDER_WORKER_PAYMENTS_QUEUE must have 1 to 200 bytes"
        );
    }

    #[test]
    fn a_mistake_is_one_sentence_that_names_the_variable() {
        assert_eq!(
            mistake(&[("ORDER_WORKER_ROLE", "cook")]),
            "ORDER_WORKER_ROLE must be one of all, orders, inventory, payments, notifications"
        );
        assert_eq!(
            mistake(&[("TEMPORAL_ADDRESS", "http://t:7233")]),
            "TEMPORAL_ADDRESS must be host:port, without a scheme"
        );
        assert_eq!(
            mistake(&[("ORDER_WORKER_ACTIVITY_SLOTS", "0")]),
            "ORDER_WORKER_ACTIVITY_SLOTS must be a whole number from 1 to 10000"
        );
        assert_eq!(
            mistake(&[("TEMPORAL_API_KEY_FILE", "/key")]),
            "TEMPORAL_API_KEY_FILE needs TLS, or the key would travel in clear: set TEMPORAL_TLS=true"
        );
        assert_eq!(
            mistake(&[("DATABASE_URL", "mysql://user:secret@db")]),
            "DATABASE_URL must begin with postgres:// or sqlite: (such as sqlite://orders.db?mode=rwc)"
        );
        assert_eq!(
            mistake(&[("TEMPORAL_TLS_CLIENT_CERT_PATH", "/a")]),
            "TEMPORAL_TLS_CLIENT_KEY_PATH is missing; it goes together with TEMPORAL_TLS_CLIENT_CERT_PATH"
        );
        assert_eq!(
            mistake(&[("SMTP_URL", "http://mail")]),
            "SMTP_URL must be smtp://host:port, smtps://host:port, or console:"
        );
    }

    #[test]
    fn an_api_key_without_tls_is_refused_and_never_printed() {
        assert_eq!(
            mistake(&[("TEMPORAL_API_KEY", "secret")]),
            "TEMPORAL_API_KEY needs TLS, or the key would travel in clear: set TEMPORAL_TLS=true"
        );
        let temporal = TemporalSettings::from_variables(&variables(&[
            ("TEMPORAL_API_KEY", "secret"),
            ("TEMPORAL_TLS", "true"),
        ]))
        .unwrap();
        assert_eq!(temporal.api_key, Some(ApiKey::Value("secret".to_owned())));
        assert!(!format!("{temporal:?}").contains("secret"));
    }

    #[test]
    fn tls_is_on_as_soon_as_one_of_its_variables_is_set() {
        let temporal = TemporalSettings::from_variables(&variables(&[(
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
            "/ca.crt",
        )]))
        .unwrap();
        assert_eq!(
            temporal.tls,
            Some(TlsSettings {
                ca: Some(PathBuf::from("/ca.crt")),
                ..TlsSettings::default()
            })
        );
    }
}
