//! `order-worker start`: starts one order from flags or many from a file, each at most once.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};
use taskqueue_worker::TemporalSettings;
use temporalio_client::tonic::{Code, IntoRequest, Status};
use temporalio_client::{
    Client, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions,
    errors::WorkflowStartError,
};
use temporalio_common::protos::temporal::api::operatorservice::v1::ListSearchAttributesRequest;

use super::client::{OrderHandle, connect};
use super::outcome::outcome;
use super::settings::TASK_QUEUE;
use super::stdout::print;
use crate::commands::cli::{StartArgs, workflow_id};
use crate::domain::order::{OrderInput, OrderState, TaskQueues};
use crate::domain::workflow::{ORDER_STATE, OrderWorkflow, SentOrder};

/// Timeout of the request for the search attributes.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of retries after a start that timed out.
const TRIES: u32 = 3;

/// A started order.
pub struct Started {
    /// The workflow, whether started by this call or earlier.
    pub handle: OrderHandle,
    /// The workflow's id.
    pub workflow_id: String,
    /// False if a workflow with this id already existed, running or closed.
    pub fresh: bool,
}

/// Starts an order once. If a workflow with the same id is running or has ended, returns that one.
///
/// Retries when a busy server does not answer in time, which the id makes safe.
pub async fn start_order(
    client: &Client,
    task_queue: &str,
    workflow_id: &str,
    input: OrderInput,
) -> Result<Started, WorkflowStartError> {
    let mut unanswered = 0;
    let fresh = loop {
        let options = WorkflowStartOptions::new(task_queue, workflow_id)
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .build();
        let start = client.start_workflow(OrderWorkflow::run, SentOrder(input.clone()), options);
        match start.await {
            Ok(_) => break true,
            // If an earlier try was not answered, that try most likely started it.
            Err(WorkflowStartError::AlreadyStarted { .. }) => break unanswered > 0,
            Err(WorkflowStartError::Rpc(status)) if timed_out(&status) && unanswered < TRIES => {
                unanswered += 1;
            }
            Err(error) => return Err(error),
        }
    };
    Ok(Started {
        handle: client.get_workflow_handle::<OrderWorkflow>(workflow_id),
        workflow_id: workflow_id.to_owned(),
        fresh,
    })
}

/// The client library retries all transient errors except its own timeout, which it reports as a
/// cancellation.
fn timed_out(status: &Status) -> bool {
    matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded)
}

/// Starts the orders that the arguments describe.
pub async fn start(
    settings: TemporalSettings,
    queues: &TaskQueues,
    args: StartArgs,
) -> anyhow::Result<ExitCode> {
    let task_queue = args
        .task_queue
        .clone()
        .unwrap_or_else(|| TASK_QUEUE.to_owned());
    let queues = TaskQueues {
        inventory: args
            .inventory_queue
            .clone()
            .or_else(|| queues.inventory.clone()),
        payments: args
            .payments_queue
            .clone()
            .or_else(|| queues.payments.clone()),
        notifications: args
            .notifications_queue
            .clone()
            .or_else(|| queues.notifications.clone()),
    };
    let (orders, wrong) = read_orders(&args, &queues).await?;
    let client = connect(settings).await?;
    if args.search_attributes {
        check_search_attribute(&client).await?;
    }
    let mut tally = Tally {
        wrong,
        ..Tally::default()
    };
    let mut ends = stream::iter(orders)
        .map(|(id, input)| {
            let (client, task_queue) = (client.clone(), task_queue.clone());
            async move { place(&client, &task_queue, &id, input, args.wait).await }
        })
        .buffer_unordered(usize::from(args.concurrency));
    while let Some(placed) = ends.next().await {
        tally.count(&placed?);
    }
    if args.file.is_some() {
        tally.report();
    }
    Ok(if tally.wrong == 0 && tally.incomplete == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Refuses to start orders that would set a search attribute which the namespace lacks: their
/// workflow tasks would fail until it exists.
async fn check_search_attribute(client: &Client) -> anyhow::Result<()> {
    let namespace = client.options().namespace.clone();
    let name = ORDER_STATE.name();
    let mut request = ListSearchAttributesRequest {
        namespace: namespace.clone(),
    }
    .into_request();
    request.set_timeout(CHECK_TIMEOUT);
    let mut service = client.connection().operator_service();
    let known = match service.list_search_attributes(request).await {
        Ok(answer) => answer.into_inner().custom_attributes,
        Err(status) => {
            // Not every API key may list attributes. In that case, trust the caller that the
            // attribute exists.
            notice(&format!(
                "whether {namespace} has the search attribute {name} is unknown: {}",
                status.message()
            ));
            return Ok(());
        }
    };
    anyhow::ensure!(
        known.get(name) == Some(&(ORDER_STATE.indexed_value_type() as i32)),
        "the Temporal namespace {namespace} has no search attribute {name} of type Keyword; make \
         it \
         with: temporal operator search-attribute create --namespace {namespace} --name {name} \
         --type Keyword"
    );
    Ok(())
}

/// The outcome of one order.
struct Placed {
    fresh: bool,
    completed: bool,
}

/// The outcomes of all orders.
#[derive(Default)]
struct Tally {
    started: u64,
    known: u64,
    wrong: u64,
    incomplete: u64,
}

impl Tally {
    fn count(&mut self, placed: &Placed) {
        if placed.fresh {
            self.started += 1;
        } else {
            self.known += 1;
        }
        self.incomplete += u64::from(!placed.completed);
    }

    fn report(&self) {
        notice(&format!(
            "{} started, {} already started before, {} refused",
            self.started, self.known, self.wrong
        ));
    }
}

async fn place(
    client: &Client,
    task_queue: &str,
    id: &str,
    input: OrderInput,
    wait: bool,
) -> anyhow::Result<Placed> {
    let started = start_order(client, task_queue, id, input)
        .await
        .with_context(|| format!("{id} cannot be started"))?;
    if !started.fresh {
        notice(&format!("{id} was already started; it does not run twice"));
    }
    print(id);
    let mut completed = true;
    if wait {
        let result = outcome(id, &started.handle).await?;
        completed = result.state == OrderState::Completed;
        print(&serde_json::to_string(&result)?);
    }
    Ok(Placed {
        fresh: started.fresh,
        completed,
    })
}

#[expect(clippy::print_stderr, reason = "for people; standard output is data")]
fn notice(text: &str) {
    eprintln!("order-worker: {text}");
}

fn notice_ignored(place: &str, fields: &[String]) {
    if !fields.is_empty() {
        notice(&format!(
            "{place}: unknown fields are ignored: {}",
            fields.join(", ")
        ));
    }
}

/// Returns the orders with their workflow ids, and how many lines of the file were refused.
async fn read_orders(
    args: &StartArgs,
    queues: &TaskQueues,
) -> anyhow::Result<(Vec<(String, OrderInput)>, u64)> {
    let completed = |input: OrderInput| {
        let input = input.with_default_queues(queues);
        if args.search_attributes {
            input.with_search_attributes()
        } else {
            input
        }
    };
    let Some(path) = &args.file else {
        let input = completed(from_flags(args)?);
        let (order, ignored) = input.parse_noting_ignored()?;
        notice_ignored("the order", &ignored);
        let id = args
            .workflow_id
            .clone()
            .unwrap_or_else(|| workflow_id(&order.order_id));
        return Ok((vec![(id, input)], 0));
    };
    let text = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
    } else {
        tokio::fs::read_to_string(path)
            .await
            .with_context(|| format!("cannot read {}", path.display()))?
    };
    let mut orders = Vec::new();
    let mut wrong = 0;
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let input = match serde_json::from_str(line) {
            Ok(value) => completed(OrderInput::from_value(value)),
            Err(error) => {
                wrong += 1;
                notice(&format!("line {}: not JSON: {error}", index + 1));
                continue;
            }
        };
        match input.parse_noting_ignored() {
            Ok((order, ignored)) => {
                notice_ignored(&format!("line {}", index + 1), &ignored);
                orders.push((workflow_id(&order.order_id), input));
            }
            Err(error) => {
                wrong += 1;
                notice(&format!("line {}: {error}", index + 1));
            }
        }
    }
    Ok((orders, wrong))
}

fn from_flags(args: &StartArgs) -> anyhow::Result<OrderInput> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    set("order_id", args.order_id.clone().map(Value::from));
    set("total", args.total.map(Value::from));
    set("currency", args.currency.clone().map(Value::from));
    set("card", args.card.clone().map(Value::from));
    set("subject", args.subject.clone().map(Value::from));
    set("body", args.body.clone().map(Value::from));
    set("cancel_window_seconds", args.cancel_window.map(Value::from));
    if !args.recipients.is_empty() {
        set("recipients", Some(Value::from(args.recipients.clone())));
    }
    if !args.items.is_empty() {
        let items: anyhow::Result<Vec<Value>> =
            args.items.iter().map(|item| item_of(item)).collect();
        set("items", Some(Value::from(items?)));
    }
    Ok(OrderInput::from_value(Value::Object(fields)))
}

fn item_of(text: &str) -> anyhow::Result<Value> {
    match text.split_once('=') {
        None => Ok(json!({ "sku": text })),
        Some((sku, quantity)) => {
            let quantity: u64 = quantity
                .parse()
                .with_context(|| format!("--item {text}: the quantity must be a whole number"))?;
            Ok(json!({ "sku": sku, "quantity": quantity }))
        }
    }
}
