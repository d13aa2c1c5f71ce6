//! The settings of the order system; those of the worker around it belong to `taskqueue-worker`.
//! Pure: the variables are passed in. Every error is one sentence that names the variable and the
//! allowed values.

mod database;

use lettre::message::Mailbox;
use reqwest::Url;
use taskqueue_worker::{Environment, SettingError};

use crate::domain::order::{MAX_QUEUE_LENGTH, TaskQueues};

pub use database::database_url;

/// The task queue of orders, unless `TEMPORAL_TASK_QUEUE` names another.
pub const TASK_QUEUE: &str = "order-processing";

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

/// The settings of `order-worker run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
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
}

impl Settings {
    /// Reads the settings of `run`. Standalone, the gateway and the mail server are optional.
    pub fn from_environment(
        environment: &Environment,
        standalone: bool,
    ) -> Result<Self, SettingError> {
        let role = environment.parse(
            "ORDER_WORKER_ROLE",
            "must be one of all, orders, inventory, payments, notifications",
            Role::parse,
        )?;
        let settings = Self {
            role: role.unwrap_or(Role::All),
            activity_queues: task_queues(environment)?,
            database_url: database_url(environment)?,
            database_connections: environment.number(
                "ORDER_WORKER_DATABASE_CONNECTIONS",
                4,
                1..=100,
            )?,
            payment_gateway_url: environment.parse(
                "PAYMENT_GATEWAY_URL",
                "must be an address that begins with http:// or https://",
                http_url,
            )?,
            smtp_url: environment.parse(
                "SMTP_URL",
                "must be smtp://host:port, smtps://host:port, or console:",
                smtp_url,
            )?,
            mail_from: mail_from(environment)?,
        };
        settings.check_role(standalone)?;
        Ok(settings)
    }

    fn check_role(&self, standalone: bool) -> Result<(), SettingError> {
        if standalone {
            return Ok(());
        }
        if self.role.plays(Role::Payments) && self.payment_gateway_url.is_none() {
            return Err(SettingError::new(
                "PAYMENT_GATEWAY_URL",
                "is missing; set it to the http or https address of the payment gateway, or run \
                 with --standalone",
            ));
        }
        if self.role.plays(Role::Notifications) && self.smtp_url.is_none() {
            return Err(SettingError::new(
                "SMTP_URL",
                "is missing; set it to smtp://host:port, or to console: to write mails to the \
                 log, or run with --standalone",
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

/// The task queues that `start` writes into an order, from the same variables as `run`.
pub fn task_queues(environment: &Environment) -> Result<TaskQueues, SettingError> {
    let queue = |name| {
        let must_have = format!("must have 1 to {MAX_QUEUE_LENGTH} bytes");
        environment.parse(name, &must_have, |queue| {
            (queue.len() <= MAX_QUEUE_LENGTH).then(|| queue.to_owned())
        })
    };
    Ok(TaskQueues {
        inventory: queue("ORDER_WORKER_INVENTORY_QUEUE")?,
        payments: queue("ORDER_WORKER_PAYMENTS_QUEUE")?,
        notifications: queue("ORDER_WORKER_NOTIFICATIONS_QUEUE")?,
    })
}

fn http_url(value: &str) -> Option<Url> {
    let url = Url::parse(value).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

fn smtp_url(value: &str) -> Option<String> {
    let valid = value == crate::mail::CONSOLE
        || Url::parse(value)
            .is_ok_and(|url| matches!(url.scheme(), "smtp" | "smtps") && url.has_host());
    valid.then(|| value.to_owned())
}

fn mail_from(environment: &Environment) -> Result<Mailbox, SettingError> {
    let wrong = || {
        let problem = "must be a mail address, such as Shop <orders@example.com>";
        SettingError::new("MAIL_FROM", problem)
    };
    let sender = environment.get("MAIL_FROM").unwrap_or("orders@example.com");
    sender.parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().copied().collect()
    }

    fn mistake(pairs: &[(&str, &str)]) -> String {
        let base = [
            ("PAYMENT_GATEWAY_URL", "http://gw"),
            ("SMTP_URL", "console:"),
        ];
        let environment = base.iter().chain(pairs).copied().collect();
        Settings::from_environment(&environment, false)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_laptop_needs_no_variable_at_all() {
        let settings = Settings::from_environment(&Environment::default(), true).unwrap();
        assert_eq!(settings.role, Role::All);
        assert_eq!(settings.database_url, "sqlite://orders.db?mode=rwc");
    }

    #[test]
    fn a_role_needs_only_what_it_uses() {
        let role = |role: &str| {
            Settings::from_environment(&environment(&[("ORDER_WORKER_ROLE", role)]), false)
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
            let settings = Settings::from_environment(&environment(pairs), true);
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
            mistake(&[("DATABASE_URL", "mysql://user:secret@db")]),
            "DATABASE_URL must begin with postgres:// or sqlite: (such as \
             sqlite://orders.db?mode=rwc)"
        );
        assert_eq!(
            mistake(&[("SMTP_URL", "http://mail")]),
            "SMTP_URL must be smtp://host:port, smtps://host:port, or console:"
        );
    }
}
