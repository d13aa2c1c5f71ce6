//! The soak: waves of real orders with activities of one second to two minutes drive three fleets up and down, and
//! afterwards every activity's history is read back. Puts the parts together; `report` counts.

mod report;

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

pub use report::Report;
use serde_json::{Value, json};

use super::{
    error::{Error, Result},
    ground::Ground,
    history::Workflow,
    prepare, run_id,
    watch::{Replicas, Watch},
    waves::{Wave, waves},
};
use crate::{paths::Name, progress::Progress, sandbox::Sandbox};

/// The namespace of the command's fleet.
const NAMESPACE: &str = "soak";
/// The fleet.
const FLEET: &str = "soak";
/// Its queues.
const QUEUES: [&str; 3] = ["orders", "payments", "mails"];
/// How many activities one pod works on.
const SLOTS: u32 = 2;
/// How long the fleet may take to be accepted.
const ACCEPT_PATIENCE: Duration = Duration::from_mins(2);
/// How long no order may end while some are open, beside the longest activity.
const STALL_PATIENCE: Duration = Duration::from_mins(3);
/// How long an idle fleet may take to be at zero.
const ZERO_PATIENCE: Duration = Duration::from_mins(5);

/// How long, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// For how long waves of orders are placed. What they began is always waited for.
    pub length: Duration,
    /// How long the longest mailing takes.
    pub longest: Duration,
}

/// Brings a sandbox up, soaks a fleet in it, and prints what was seen. An error if anything was interrupted.
pub fn run(name: &Name, options: Options, progress: Progress) -> Result<Report, Error> {
    let sandbox = prepare(name, progress)?;
    let ground = Ground::fresh(&sandbox, NAMESPACE)?;
    let report = soak(&sandbox, NAMESPACE, options, progress)?;
    ground.remove()?;
    Ok(report)
}

/// Soaks a fleet in a namespace that exists, and leaves it there at zero.
pub fn soak(
    sandbox: &Sandbox,
    namespace: &str,
    options: Options,
    progress: Progress,
) -> Result<Report, Error> {
    let ground = Ground::within(sandbox, namespace)?;
    let run = format!("soak-{}-{namespace}", run_id());
    let waves = waves(&run, options.length, options.longest);
    let deployments = Watch::deployments(&ground)?;
    let pods = Watch::pods(&ground)?;
    ground.apply(&fleet(&ground))?;
    at_zero(&ground, &deployments, ACCEPT_PATIENCE)?;

    let began = Instant::now();
    for (number, wave) in waves.iter().enumerate() {
        thread::sleep(wave.at.saturating_sub(began.elapsed()));
        place(&ground, wave)?;
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
    ground.until_ended(&run, orders.len() as u64, options.longest + STALL_PATIENCE)?;
    progress.say(&format!(
        "every order had ended after {} s; waiting until the fleet is at zero",
        began.elapsed().as_secs()
    ));
    at_zero(&ground, &deployments, ZERO_PATIENCE)?;
    let lasted = began.elapsed();
    let workflows: Vec<Workflow> = orders
        .iter()
        .map(|order| {
            let id = order["order_id"].as_str().unwrap_or_default();
            ground.workflow(&format!("order-{id}"))
        })
        .collect::<Result<_>>()?;
    Ok(Report::new(
        &workflows,
        &deployments.replicas(),
        &pods.told_to_stop(),
        lasted,
    ))
}

/// Short cooldown and stabilization, so that the fleet follows every wave down.
fn fleet(ground: &Ground<'_>) -> Value {
    let role = |role: &str| json!([{"name": "ORDER_WORKER_ROLE", "value": role}]);
    let queue = |name: &str, max: u32| json!({"name": name, "taskQueue": task_queue(ground, name), "replicas": {"min": 0, "max": max}});
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
        // Longer than any activity, which is what the promise asks for, and less than twice the longest: so both ways
        // of scaling in are met, pods that drain and pods that are left alone because they are busy.
        "drain": {"gracePeriod": "3m"},
    });
    ground.fleet(FLEET, SLOTS, spec)
}

fn task_queue(ground: &Ground<'_>, queue: &str) -> String {
    format!("{}-{queue}", ground.namespace)
}

fn place(ground: &Ground<'_>, wave: &Wave) -> Result<()> {
    let [orders, payments, mails] = QUEUES.map(|queue| task_queue(ground, queue));
    let flags = [
        "--task-queue",
        &orders,
        "--payments-queue",
        &payments,
        "--notifications-queue",
        &mails,
    ];
    ground.place(&flags, &wave.orders)
}

/// Waits until the Deployment of every queue is there and has no replica.
fn at_zero(ground: &Ground<'_>, deployments: &Watch, patience: Duration) -> Result<()> {
    let zero = deployments.wait(patience, |seen| {
        let latest = latest(seen);
        let zero = QUEUES
            .iter()
            .all(|queue| latest.get(queue).is_some_and(|now| now.asked == 0));
        zero.then_some(())
    });
    zero.ok_or_else(|| {
        ground.not_reached(&format!(
            "every queue of the fleet {FLEET} should be at zero replicas and was not within {} s",
            patience.as_secs()
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
        .map(|(queue, now)| format!("{queue} {}", now.asked));
    each.collect::<Vec<_>>().join(", ")
}
