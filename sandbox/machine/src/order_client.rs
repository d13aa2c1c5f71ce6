//! The command of the order worker's own client, which places and cancels orders. Starts nothing.

use std::process::Command;

use crate::{clients::temporal::NAMESPACE, error::Result, sandbox::Sandbox};

/// A person's own settings, which must not leak in.
const OWN_SETTINGS: [&str; 6] = [
    "TEMPORAL_API_KEY",
    "TEMPORAL_API_KEY_FILE",
    "TEMPORAL_TLS",
    "ORDER_WORKER_INVENTORY_QUEUE",
    "ORDER_WORKER_PAYMENTS_QUEUE",
    "ORDER_WORKER_NOTIFICATIONS_QUEUE",
];

impl Sandbox {
    /// The order worker's program, with the address of the sandbox's Temporal.
    pub fn order_client(&self) -> Result<Command> {
        let mut command = Command::new(self.paths().gateway_program());
        command
            .env("TEMPORAL_ADDRESS", self.temporal()?)
            .env("TEMPORAL_NAMESPACE", NAMESPACE);
        for variable in OWN_SETTINGS {
            command.env_remove(variable);
        }
        Ok(command)
    }
}
