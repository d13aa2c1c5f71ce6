//! The command line: names, flags, help. Pure.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The version. A debug build is marked as a development build.
const VERSION: &str = if cfg!(debug_assertions) {
    concat!(env!("CARGO_PKG_VERSION"), " (development build)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// The order worker: a Temporal worker for orders, and the tools around it.
///
/// Connection (all commands but migrate and gateway), from the environment: TEMPORAL_ADDRESS
/// (localhost:7233), TEMPORAL_NAMESPACE (default), TEMPORAL_TASK_QUEUE (order-processing),
/// TEMPORAL_TLS, TEMPORAL_TLS_SERVER_NAME, TEMPORAL_TLS_SERVER_CA_CERT_PATH,
/// TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH, TEMPORAL_API_KEY or
/// TEMPORAL_API_KEY_FILE. The README of the package lists every variable.
#[derive(Debug, Parser)]
#[command(name = "order-worker", version = VERSION, verbatim_doc_comment)]
pub struct Cli {
    /// What to do; `run` if left out.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll a task queue and process orders until SIGTERM (the default).
    Run(RunArgs),
    /// Start one order, or many from a file.
    Start(StartArgs),
    /// Show the state of an order, as JSON.
    Status(OrderArgs),
    /// Cancel an order that is not being paid yet.
    Cancel(CancelArgs),
    /// Migrate the database of DATABASE_URL to the current schema and exit.
    Migrate,
    /// Serve a payment gateway stand-in.
    #[cfg(feature = "standalone")]
    Gateway(order_gateway::GatewayArgs),
}

impl Command {
    /// Whether the command runs until it is stopped, and so logs to standard output as containers
    /// do.
    pub fn serves(&self) -> bool {
        match self {
            Self::Run(_) => true,
            #[cfg(feature = "standalone")]
            Self::Gateway(_) => true,
            _ => false,
        }
    }
}

impl Default for Command {
    fn default() -> Self {
        Self::Run(RunArgs::default())
    }
}

/// Arguments of `run`.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Need nothing but Temporal: use SQLite unless DATABASE_URL is set, a built-in payment gateway
    /// stand-in unless PAYMENT_GATEWAY_URL is set, and write mails to the log unless SMTP_URL is
    /// set.
    #[cfg(feature = "standalone")]
    #[arg(long)]
    pub standalone: bool,
}

impl RunArgs {
    /// Whether `--standalone` is given; never without the feature of this name.
    pub fn standalone(&self) -> bool {
        #[cfg(feature = "standalone")]
        return self.standalone;
        #[cfg(not(feature = "standalone"))]
        false
    }
}

/// Arguments of `start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// The order's id: 1 to 100 characters of A-Z a-z 0-9 . _ -
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub order_id: Option<String>,
    /// Total in minor units: 100 is 1.00.
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    pub total: Option<i64>,
    /// Currency, three capital letters.
    #[arg(long, conflicts_with = "file")]
    pub currency: Option<String>,
    /// An item as SKU or SKU=QUANTITY; may be repeated.
    #[arg(long = "item", value_name = "SKU[=N]", conflicts_with = "file")]
    pub items: Vec<String>,
    /// A token of the payment gateway, never a card number.
    #[arg(long, conflicts_with = "file")]
    pub card: Option<String>,
    /// A mail address to notify; may be repeated.
    #[arg(long = "recipient", value_name = "ADDRESS", conflicts_with = "file")]
    pub recipients: Vec<String>,
    /// Subject of the mail.
    #[arg(long, conflicts_with = "file")]
    pub subject: Option<String>,
    /// Text of the mail.
    #[arg(long, conflicts_with = "file")]
    pub body: Option<String>,
    /// Seconds to wait before paying. Until then the order can be cancelled.
    #[arg(long, value_name = "SECONDS", conflicts_with = "file")]
    pub cancel_window: Option<u64>,
    /// Keep the search attribute OrderState of the workflows up to date, so that orders can be
    /// listed by state. The namespace must have it: temporal operator search-attribute create
    /// --name OrderState --type Keyword
    #[arg(long)]
    pub search_attributes: bool,
    /// Start every order of this file: one JSON object per line (`-` is standard input).
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How many orders of the file to start at the same time.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,
    /// Wait until every order has ended, and print each result as a line of JSON. The exit code is
    /// then 0 only if every order completed.
    #[arg(long)]
    pub wait: bool,
    /// The id of the workflow, instead of order-ORDER_ID.
    #[arg(long, conflicts_with = "file")]
    pub workflow_id: Option<String>,
    /// Task queue of the workflow, instead of TEMPORAL_TASK_QUEUE.
    #[arg(long, value_name = "QUEUE")]
    pub task_queue: Option<String>,
    /// Task queue of the inventory's activities, instead of ORDER_WORKER_INVENTORY_QUEUE.
    #[arg(long, value_name = "QUEUE")]
    pub inventory_queue: Option<String>,
    /// Task queue of the payment activities, instead of ORDER_WORKER_PAYMENTS_QUEUE.
    #[arg(long, value_name = "QUEUE")]
    pub payments_queue: Option<String>,
    /// Task queue of the notifications, instead of ORDER_WORKER_NOTIFICATIONS_QUEUE.
    #[arg(long, value_name = "QUEUE")]
    pub notifications_queue: Option<String>,
}

/// Selects an order by its own id or by its workflow's id.
#[derive(Debug, Args)]
pub struct OrderArgs {
    /// The order's id.
    #[arg(required_unless_present = "workflow_id")]
    pub order_id: Option<String>,
    /// The workflow's id, if it is not order-ORDER_ID.
    #[arg(long, conflicts_with = "order_id")]
    pub workflow_id: Option<String>,
}

impl OrderArgs {
    /// Returns the workflow's id.
    pub fn workflow_id(&self) -> String {
        match (&self.workflow_id, &self.order_id) {
            (Some(id), _) => id.clone(),
            (None, order) => workflow_id(order.as_deref().unwrap_or_default()),
        }
    }
}

/// Returns the default workflow id of an order.
pub fn workflow_id(order_id: &str) -> String {
    format!("order-{order_id}")
}

/// Arguments of `cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The order to cancel.
    #[command(flatten)]
    pub order: OrderArgs,
    /// The reason; stored with the order.
    #[arg(long, default_value = "cancelled on request")]
    pub reason: String,
    /// Cancel the workflow instead of asking it to cancel the order. It then ends as Canceled and
    /// cannot refuse. An order that is already paid stays paid; only its remaining mails are not
    /// sent.
    #[arg(long)]
    pub workflow: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_subcommand_the_worker_runs() {
        assert!(
            Cli::try_parse_from(["order-worker"])
                .unwrap()
                .command
                .is_none()
        );
        assert!(matches!(
            Command::default(),
            Command::Run(args) if !args.standalone()
        ));
    }
}
