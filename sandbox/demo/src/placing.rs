//! Places the orders of a run with the order worker's own client, and plays the customers who
//! cancel. Runs order-worker; writes the run's file below the state folder.

use std::{
    path::PathBuf,
    thread::{self, JoinHandle},
};

use crate::{
    error::{Error, Result},
    fleet::QUEUES,
    orders::{self, Order, Pieces},
};
use sandbox_machine::{Sandbox, files, run};

/// Brings the database's tables up to date, so that the stock can be read before the first worker
/// has run.
pub(crate) fn migrate(sandbox: &Sandbox) -> Result<()> {
    let mut command = sandbox.order_client()?;
    command
        .arg("migrate")
        .env("DATABASE_URL", sandbox.postgres()?);
    run::output(&mut command)?;
    Ok(())
}

/// Writes the run's orders to a file of their own and places them all. Says where the file is.
pub(crate) fn place(sandbox: &Sandbox, run: &str, orders: &[Order]) -> Result<PathBuf> {
    let folder = sandbox.paths().state.join("demo");
    files::make_folder(&folder)?;
    let file = folder.join(format!("{run}.jsonl"));
    files::write_file(&file, orders::lines(orders).as_bytes())?;
    // As any client would: only the workers know of the other queues.
    let [orders_queue, ..] = QUEUES;
    let mut command = sandbox.order_client()?;
    command
        .args(["start", "--task-queue", orders_queue, "--file"])
        .arg(&file);
    let printed = run::output(&mut command)?;
    let placed = printed
        .lines()
        .filter(|line| line.starts_with("order-"))
        .count();
    if placed == orders.len() {
        Ok(file)
    } else {
        let why = format!("it named {placed} workflows for {} orders", orders.len());
        Err(Error::source("the output of order-worker start", why))
    }
}

/// Plays the customers who think again. Each request is answered by a worker, so it waits until one
/// runs.
pub(crate) fn cancel(
    sandbox: &Sandbox,
    orders: &[Order],
    stock: &Pieces,
) -> Result<Vec<JoinHandle<sandbox_machine::Result<String>>>> {
    orders
        .iter()
        .filter(|order| order.is_cancelled_by_customer(stock))
        .map(|order| {
            let mut command = sandbox.order_client()?;
            command.args([
                "cancel",
                &order.id,
                "--reason",
                "the customer changed their mind",
            ]);
            Ok(thread::spawn(move || run::output(&mut command)))
        })
        .collect()
}
