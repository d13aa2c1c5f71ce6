//! The soak: waves of real orders with activities of one second to two minutes, and of tasks on
//! other workers, scale fleets up and down; afterwards every activity's history is read back.
//! Combines the parts; `report` counts.

mod report;
mod sleepers;
mod waves;

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

pub use report::Report;
use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    history::Workflow,
    kubectl_watch::{Replicas, Watch},
    prepare::prepare,
    scenario::Scenario,
    soak::waves::{Wave, waves},
};
use sandbox_machine::{Name, OPERATOR_NAMESPACE, Progress, Sandbox, Sleeper, Tasks, run_id};

/// The namespace of the command's fleet.
const NAMESPACE: &str = "soak";
/// The fleet.
const FLEET: &str = "soak";
/// Its queues.
const QUEUES: [&str; 3] = ["orders", "payments", "mails"];
/// How many activities one pod works on.
const SLOTS: u32 = 2;
/// How long the fleet may take to be accepted.
const ACCEPT_TIMEOUT: Duration = Duration::from_mins(2);
/// How long no order may end while some are open, beside the longest activity.
const STALL_TIMEOUT: Duration = Duration::from_mins(3);
/// How long an idle fleet may take to be at zero.
const ZERO_TIMEOUT: Duration = Duration::from_mins(5);

/// How long, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// For how long waves of orders are placed. The run always waits until they have ended.
    pub length: Duration,
    /// How long the longest mailing takes, and the longest of the other tasks.
    pub longest: Duration,
    /// Whether the leader of the operator is killed when half of the waves have come.
    pub kill_the_leader: bool,
}

/// Brings a sandbox up, soaks fleets in it, and prints what was seen. An error if anything was
/// interrupted that need not have been.
pub fn run(name: &Name, options: Options, progress: Progress) -> Result<Report, Error> {
    let sandbox = prepare(name, progress)?;
    let scenario = Scenario::fresh(&sandbox, NAMESPACE)?;
    let report = soak(&sandbox, NAMESPACE, options, progress)?;
    scenario.remove()?;
    Ok(report)
}

/// Soaks fleets in an existing namespace, and leaves them there at zero.
pub fn soak(
    sandbox: &Sandbox,
    namespace: &str,
    options: Options,
    progress: Progress,
) -> Result<Report, Error> {
    let scenario = Scenario::within(sandbox, namespace)?;
    let run = format!("soak-{}-{namespace}", run_id());
    let sleeper = sandbox.sleeper(progress)?;
    let waves = waves(&run, options.length, options.longest);
    let deployments = Watch::deployments(&scenario)?;
    let pods = Watch::pods(&scenario)?;
    let grace = sleepers::grace(options.longest);
    scenario.apply(&fleet(&scenario))?;
    for fleet in sleepers::Fleet::ALL {
        let spec = fleet.spec(&task_queue(&scenario, fleet.name()), grace);
        let template = sleeper.template(fleet.env());
        scenario.apply(&scenario.fleet_of(fleet.name(), template, spec))?;
    }
    at_zero(&scenario, &deployments, ACCEPT_TIMEOUT)?;

    let began = Instant::now();
    let mut batches = Vec::new();
    for (number, wave) in waves.iter().enumerate() {
        thread::sleep(wave.at.saturating_sub(began.elapsed()));
        place(&scenario, wave)?;
        batches.extend(put_to_sleep(&scenario, &sleeper, &run, number, options)?);
        if options.kill_the_leader && number == waves.len() / 2 {
            kill_the_leader(sandbox, progress)?;
        }
        progress.say(&format!(
            "wave {} of {} after {} s: {} orders; replicas {}",
            number + 1,
            waves.len(),
            began.elapsed().as_secs(),
            wave.orders.len(),
            now(&deployments.replicas())
        ));
    }
    let orders: Vec<&Value> = waves.iter().flat_map(|wave| &wave.orders).collect();
    let tasks = batches.iter().map(|(_, ids)| ids.len()).sum::<usize>();
    let timeout = options.longest + STALL_TIMEOUT;
    scenario.until_ended(&format!("order-{run}-"), orders.len() as u64, timeout)?;
    scenario.until_ended(&format!("{run}-"), tasks as u64, timeout)?;
    progress.say(&format!(
        "all orders had ended after {} s; waiting until the fleets are at zero",
        began.elapsed().as_secs()
    ));
    at_zero(&scenario, &deployments, ZERO_TIMEOUT)?;
    let lasted = began.elapsed();
    let workflows: Vec<Workflow> = orders
        .iter()
        .map(|order| {
            let id = order["order_id"].as_str().unwrap_or_default();
            scenario.workflow(&format!("order-{id}"))
        })
        .collect::<Result<_>>()?;
    let terminated = pods.terminating();
    let mut report = Report::new(&workflows, &deployments.replicas(), &terminated, lasted);
    for fleet in sleepers::Fleet::ALL {
        let ids = batches.iter().filter(|(of, _)| *of == fleet);
        let slept = ids
            .flat_map(|(_, ids)| ids)
            .map(|id| scenario.workflow(id))
            .collect::<Result<Vec<_>>>()?;
        report.add(&slept, sleepers::cuts(&slept, &terminated, grace));
    }
    Ok(report)
}

/// Starts the other tasks of a wave: the ids of their workflows.
fn put_to_sleep(
    scenario: &Scenario<'_>,
    sleeper: &Sleeper,
    run: &str,
    wave: usize,
    options: Options,
) -> Result<Vec<(sleepers::Fleet, Vec<String>)>> {
    let temporal = scenario.sandbox.temporal()?;
    let batches = sleepers::batches(wave, options.longest).into_iter();
    batches
        .map(|batch| {
            let tasks = Tasks {
                queue: &task_queue(scenario, batch.fleet.name()),
                id: &format!("{run}-{wave}-{}", batch.name),
                count: batch.count,
                takes: batch.takes,
                on_host: batch.fleet == sleepers::Fleet::Hosts,
            };
            sleeper.start(&temporal, &tasks)?;
            Ok((batch.fleet, tasks.ids()))
        })
        .collect()
}

/// Removes the replica that leads at once; another one takes over.
fn kill_the_leader(sandbox: &Sandbox, progress: Progress) -> Result<()> {
    let leader = sandbox.operator_pod()?;
    progress.say(&format!("killing the operator's leader {leader}"));
    let delete = ["delete", "pod", &leader, "--grace-period=0", "--force"];
    sandbox.kubectl_output(&[&["--namespace", OPERATOR_NAMESPACE][..], &delete[..]].concat())?;
    Ok(())
}

/// Short cooldown and stabilization, so that the fleet follows every wave down.
fn fleet(scenario: &Scenario<'_>) -> Value {
    let role = |role: &str| json!([{"name": "ORDER_WORKER_ROLE", "value": role}]);
    let queue = |name: &str, max: u32| {
        json!({
            "name": name, "taskQueue": task_queue(scenario, name),
            "replicas": {"min": 0, "max": max},
        })
    };
    let mut queues = [
        queue(QUEUES[0], 3),
        queue(QUEUES[1], 4),
        queue(QUEUES[2], 8),
    ];
    queues[0]["taskTypes"] = json!(["Workflow", "Activity"]);
    for (index, played) in [(1, "payments"), (2, "notifications")] {
        queues[index]["taskTypes"] = json!(["Activity"]);
        queues[index]["env"] = role(played);
    }
    let spec = json!({
        "queues": queues,
        "scaling": {
            "cooldownPeriod": "5s",
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
        },
        // Longer than any activity, which is what the promise asks for, and less than twice the
        // longest: so both ways of scaling in are met, pods that drain and pods that are left alone
        // because they are busy.
        "drain": {"gracePeriod": "3m"},
    });
    scenario.fleet(FLEET, SLOTS, spec)
}

fn task_queue(scenario: &Scenario<'_>, queue: &str) -> String {
    format!("{}-{queue}", scenario.namespace)
}

fn place(scenario: &Scenario<'_>, wave: &Wave) -> Result<()> {
    let [orders, payments, mails] = QUEUES.map(|queue| task_queue(scenario, queue));
    let flags = [
        "--task-queue",
        &orders,
        "--payments-queue",
        &payments,
        "--notifications-queue",
        &mails,
    ];
    scenario.place(&flags, &wave.orders)
}

/// Waits until the Deployment of every queue is there and has no replica.
fn at_zero(scenario: &Scenario<'_>, deployments: &Watch, timeout: Duration) -> Result<()> {
    let zero = deployments.wait(timeout, |seen| {
        let latest = latest(seen);
        let sleepers = sleepers::Fleet::ALL.map(sleepers::Fleet::name);
        let zero = QUEUES
            .iter()
            .chain(&sleepers)
            .all(|queue| latest.get(queue).is_some_and(|now| now.desired == 0));
        zero.then_some(())
    });
    zero.ok_or_else(|| {
        scenario.not_reached(&format!(
            "not every queue reached zero replicas within {} s",
            timeout.as_secs()
        ))
    })
}

/// The latest state of each queue.
fn latest(seen: &[Replicas]) -> BTreeMap<&str, &Replicas> {
    seen.iter().map(|one| (one.queue.as_str(), one)).collect()
}

/// The replicas as a line for people.
fn now(seen: &[Replicas]) -> String {
    let each = latest(seen)
        .into_iter()
        .map(|(queue, now)| format!("{queue} {}", now.desired));
    each.collect::<Vec<_>>().join(", ")
}
