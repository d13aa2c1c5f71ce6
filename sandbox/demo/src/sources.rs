//! Reads the four sources that record the orders: the gateway over HTTP, the database with psql,
//! the mail server's Maildir, Temporal over its HTTP API. I/O only: `readings` parses the answers.
//! Changes nothing.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::{
    chart::{self, ByQueue, Scraped},
    error::{Error, Result},
    orders::Pieces,
    readings::{self, Database, Execution, LedgerEntry, LiveOrders, Mail, Readings},
};
use sandbox_machine::{
    Attempt, Sandbox,
    clients::{http, prometheus::Prometheus, temporal::Temporal},
    run,
};

/// Workflows per page of a list.
const PAGE: usize = 500;
/// Most of a mail's beginning that is looked at: its headers are there.
const HEADERS: usize = 8192;

/// The places of one sandbox.
pub(crate) struct Sources<'a> {
    sandbox: &'a Sandbox,
    temporal: Temporal,
    gateway: String,
    prometheus: Prometheus,
}

impl<'a> Sources<'a> {
    /// Finds out where the places are.
    pub(crate) fn of(sandbox: &'a Sandbox) -> Result<Self> {
        Ok(Self {
            sandbox,
            temporal: Temporal::of(sandbox)?,
            gateway: sandbox.address("gateway")?,
            prometheus: Prometheus::of(sandbox)?,
        })
    }

    /// Everything about one run.
    pub(crate) fn read(&self, run: &str, stock_before: &Pieces) -> Result<Readings> {
        Ok(Readings {
            ledger: self.ledger(run)?,
            database: self.database(run)?,
            stock_before: stock_before.clone(),
            mails: mails(&self.sandbox.paths().maildir(), run)?,
            executions: self.executions(run)?,
        })
    }

    fn ledger(&self, run: &str) -> Result<Vec<LedgerEntry>> {
        let text = http::get(&self.gateway, "/ledger")?;
        readings::ledger(&text, run).map_err(|why| Error::source("the gateway's ledger", why))
    }

    fn database(&self, run: &str) -> Result<Database> {
        let text = self.sql(&Database::statement(run))?;
        Database::parse(&text).map_err(|why| Error::source("the database", why))
    }

    /// Pieces in stock now, per SKU.
    pub(crate) fn stock(&self) -> Result<Pieces> {
        let text = self.sql(readings::STOCK)?;
        readings::stock(&text).map_err(|why| Error::source("the stock in the database", why))
    }

    /// How many orders of a run have come to an end.
    pub(crate) fn live_orders(&self, run: &str) -> Result<LiveOrders> {
        let text = self.sql(&LiveOrders::statement(run))?;
        readings::live_orders(&text).map_err(|why| Error::source("the orders in the database", why))
    }

    fn sql(&self, statement: &str) -> Result<String> {
        let psql = self.sandbox.programs().postgres_folder.join("psql");
        let mut command = Command::new(psql);
        command
            .arg(self.sandbox.postgres()?)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set=ON_ERROR_STOP=1", "--command", statement]);
        Ok(run::output(&mut command)?)
    }

    /// How many workflows of a run are closed, and how many are open.
    pub(crate) fn closed_and_open(&self, run: &str) -> Result<(u64, u64)> {
        let query = format!("{} GROUP BY ExecutionStatus", of_run(run));
        let text = self
            .temporal
            .get(&format!("workflow-count?query={}", http::escape(&query)))?;
        readings::closed_and_open(&text).map_err(|why| Error::source("Temporal's count", why))
    }

    /// How many orders are open, whichever run or person placed them.
    pub(crate) fn open_orders(&self) -> Result<u64> {
        let query = "WorkflowType = 'OrderWorkflow' AND ExecutionStatus = 'Running' GROUP BY \
                     ExecutionStatus";
        let text = self
            .temporal
            .get(&format!("workflow-count?query={}", http::escape(query)))?;
        let (_closed, open) = readings::closed_and_open(&text)
            .map_err(|why| Error::source("Temporal's count of open orders", why))?;
        Ok(open)
    }

    /// Tasks that wait in a task queue, and how long the oldest has waited, over workflow and
    /// activity tasks.
    pub(crate) fn backlog(&self, task_queue: &str) -> Result<(u64, Duration)> {
        let (mut backlog, mut oldest) = (0, Duration::ZERO);
        for kind in ["WORKFLOW", "ACTIVITY"] {
            let text = self.temporal.get(&format!(
                "task-queues/{task_queue}?reportStats=true&taskQueueType=TASK_QUEUE_TYPE_{kind}"
            ))?;
            let (count, age) = readings::task_queue_stats(&text)
                .map_err(|why| Error::source(format!("Temporal's task queue {task_queue}"), why))?;
            backlog += count;
            oldest = oldest.max(age);
        }
        Ok((backlog, oldest))
    }

    fn executions(&self, run: &str) -> Result<Vec<Execution>> {
        let mut executions = Vec::new();
        let mut token = String::new();
        loop {
            let (query, next) = (http::escape(&of_run(run)), http::escape(&token));
            let text = self.temporal.get(&format!(
                "workflows?pageSize={PAGE}&query={query}&nextPageToken={next}"
            ))?;
            let (ids, next) = readings::list_page(&text)
                .map_err(|why| Error::source("Temporal's list of workflows", why))?;
            for (workflow_id, run_id) in ids {
                executions.push(self.execution(&workflow_id, &run_id)?);
            }
            if next.is_empty() {
                return Ok(executions);
            }
            token = next;
        }
    }

    fn execution(&self, workflow_id: &str, run_id: &str) -> Result<Execution> {
        let text = self.temporal.get(&format!(
            "workflows/{}/history?execution.runId={run_id}&maximumPageSize=1000",
            http::escape(workflow_id)
        ))?;
        readings::execution(workflow_id, &text)
            .map_err(|why| Error::source(format!("Temporal's history of {workflow_id}"), why))
    }

    /// The queues of a fleet of which Prometheus has scraped something in the last seconds before
    /// `now`.
    pub(crate) fn scraped_just_now(&self, fleet: &Fleet<'_>, now: i64) -> Result<Vec<String>> {
        let Fleet { namespace, name } = fleet;
        // Over a window, because an old sample would be repeated for minutes otherwise.
        let query = format!(
            "max by (queue) \
             (max_over_time(taskqueue_operator_desired_replicas{{namespace=\"{namespace}\",name=\"{name}\"}}[5s]))"
        );
        Ok(self.by_queue(&query, (now, now), 1)?.into_keys().collect())
    }

    /// What Prometheus scraped about a fleet between two times (seconds since 1970).
    pub(crate) fn scraped(&self, fleet: &Fleet<'_>, from: i64, to: i64) -> Result<Scraped> {
        // At most 11,000 points are allowed; the scrape interval is 2 s.
        let step = ((to - from) / 5000).max(2);
        let range = |metric: &str, join: &str| -> Result<ByQueue> {
            let Fleet { namespace, name } = fleet;
            let query = format!(
                "{join} by (queue) \
                 (taskqueue_operator_{metric}{{namespace=\"{namespace}\",name=\"{name}\"}})"
            );
            self.by_queue(&query, (from, to), step)
        };
        Ok(Scraped {
            backlog: range("backlog_tasks", "sum")?,
            desired: range("desired_replicas", "max")?,
            ready: range("ready_replicas", "max")?,
        })
    }

    fn by_queue(&self, query: &str, (from, to): (i64, i64), step: i64) -> Result<ByQueue> {
        let series = self.prometheus.range(query, from, to, step)?;
        chart::by_queue(series).map_err(|why| Error::source(format!("Prometheus: {query}"), why))
    }
}

/// The fleet whose metrics are read.
pub(crate) struct Fleet<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// The workflows of a run. A run's id holds digits and dashes only.
fn of_run(run: &str) -> String {
    format!("WorkflowId STARTS_WITH 'order-{run}-'")
}

/// The mails of a run that lie in a Maildir.
fn mails(maildir: &Path, run: &str) -> Result<Vec<Mail>> {
    let mut mails = Vec::new();
    // `tmp` holds mails that are still being written; they do not count.
    for folder in ["new", "cur"] {
        let folder = maildir.join(folder);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.attempt(|| format!("reading {}", folder.display()))?,
        };
        for entry in entries.flatten() {
            let file = entry.path();
            let bytes = fs::read(&file).attempt(|| format!("reading {}", file.display()))?;
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(HEADERS)]);
            mails.extend(readings::mail(&head, run));
        }
    }
    Ok(mails)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_are_found_in_both_folders_of_a_maildir_and_not_in_tmp() {
        let folder = tempfile::tempdir().unwrap();
        let maildir = folder.path().join("Maildir");
        for (folder, id) in [
            ("new", "r-1"),
            ("cur", "r-2"),
            ("tmp", "r-3"),
            ("new", "other-4"),
        ] {
            fs::create_dir_all(maildir.join(folder)).unwrap();
            let text = format!("Message-ID: <{id}.0@order-worker>\nTo: a@example.com\n\nhello\n");
            fs::write(maildir.join(folder).join(id), text).unwrap();
        }
        let mut found: Vec<String> = mails(&maildir, "r")
            .unwrap()
            .into_iter()
            .map(|mail| mail.order_id)
            .collect();
        found.sort();
        assert_eq!(found, ["r-1", "r-2"]);
        fs::remove_dir_all(&maildir).unwrap();
        assert_eq!(mails(&maildir, "r").unwrap(), []);
    }
}
