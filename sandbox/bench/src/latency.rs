//! Measures the time from the first task on an idle queue, whose fleet is at zero, to the right
//! number of replicas, the first poll and the first completed activity. Several fleets take turns:
//! while one returns to zero, the next is measured. Restarts the sandbox's Temporal and changes the
//! operator's settings, and restores both at the end.

mod report;
mod setting;

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
pub use report::Measured;
use report::{Trial, figures};
use serde_json::{Value, json};
pub use setting::Setting;
use setting::{ORDERS, RIGHT};

use crate::{
    error::{Error, Result},
    hint_client::{self, HintClient, Target},
    history::Workflow,
    kubectl_watch::{Replicas, Watch},
    percentiles::{between, seconds},
    prepare::prepare,
    scenario::Scenario,
};
use sandbox_machine::{Action, Name, Progress, Sandbox, run_id};

/// The namespace of the fleets.
const NAMESPACE: &str = "latency";
/// The queue of each fleet.
const QUEUE: &str = "orders";
/// How many fleets take turns. A fleet is at zero again some 45 s after its trial.
const LANES: usize = 10;
/// Waiting tasks per replica in these fleets; it makes the right number of replicas known.
const PER_REPLICA: usize = 3;
/// How long a fleet must have been at zero: its pods have gone, and no poller waits at its queue.
const REST: Duration = Duration::from_secs(8);
/// Each trial starts at a random moment within the longest time between two reads of a queue.
const PHASE: Duration = Duration::from_secs(5);
/// How long a fleet may take to be accepted, or to be at zero.
const IDLE_TIMEOUT: Duration = Duration::from_mins(4);
/// How long the right number of replicas, and then the orders, may take.
const TRIAL_TIMEOUT: Duration = Duration::from_mins(1);
/// The ServiceAccount that sends hints.
const SENDER: &str = "sender";

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many trials under each setting.
    pub trials: usize,
    /// The settings.
    pub settings: Vec<Setting>,
}

/// Brings a sandbox up and measures in it.
pub fn run(name: &Name, options: &Options, progress: Progress) -> Result<Vec<Measured>, Error> {
    let sandbox = prepare(name, progress)?;
    let mut measured = Vec::new();
    let mut outcome = Ok(());
    for setting in &options.settings {
        match measure(&sandbox, *setting, options.trials, progress) {
            Ok(trials) => measured.push(trials),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    progress.say("restoring the operator's settings");
    let restored = sandbox.install_operator(&[]);
    outcome?;
    restored?;
    Ok(measured)
}

fn measure(
    sandbox: &Sandbox,
    setting: Setting,
    trials: usize,
    progress: Progress,
) -> Result<Measured> {
    progress.say(&format!("setting up: {}", setting.title()));
    let arguments = setting.temporal();
    if !arguments.is_empty() {
        sandbox.component_with("temporal", Action::Restart, arguments)?;
    }
    let result = under(sandbox, setting, trials, progress);
    if !arguments.is_empty() {
        progress.say("restarting Temporal without additional arguments");
        sandbox.component("temporal", Action::Restart)?;
    }
    result
}

fn under(
    sandbox: &Sandbox,
    setting: Setting,
    trials: usize,
    progress: Progress,
) -> Result<Measured> {
    sandbox.install_operator(setting.operator())?;
    let scenario = Scenario::fresh(sandbox, NAMESPACE)?;
    let fleets: Vec<Value> = (0..LANES)
        .map(|lane| fleet(&scenario, lane, setting))
        .collect();
    let deployments = Watch::deployments(&scenario)?;
    scenario.apply(&json!({"apiVersion": "v1", "kind": "List", "items": fleets}))?;
    let sender = if setting == Setting::Hint {
        Some(Sender::new(&scenario)?)
    } else {
        None
    };
    let bench = Bench {
        scenario: &scenario,
        deployments: &deployments,
        sender,
        run: format!("latency-{}", run_id()),
    };
    let mut done = Vec::new();
    for number in 0..trials {
        let trial = bench.trial(number)?;
        progress.say(&format!(
            "{} of {trials}: {} s to the right replicas, {} s to the first poll, {} s to the \
             first completed activity",
            number + 1,
            seconds(trial.right),
            seconds(trial.taken),
            seconds(trial.completed)
        ));
        done.push(trial);
    }
    drop(deployments);
    scenario.remove()?;
    Ok(Measured {
        setting,
        trials: done,
    })
}

fn lane(number: usize) -> String {
    format!("lane-{}", number % LANES)
}

fn fleet(scenario: &Scenario<'_>, number: usize, setting: Setting) -> Value {
    let name = lane(number);
    let spec = json!({
        "queues": [{
            "name": QUEUE, "taskQueue": format!("{NAMESPACE}-{name}"),
            "taskTypes": ["Workflow", "Activity"],
            "replicas": {"min": 0, "max": 2 * RIGHT},
        }],
        "scaling": {
            "backlogPerReplica": PER_REPLICA,
            "pollingInterval": setting.polling_interval(),
            "cooldownPeriod": "5s",
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
        "drain": {"gracePeriod": "30s"},
    });
    scenario.fleet(&name, 10, spec)
}

/// Somebody who sends hints.
struct Sender {
    client: HintClient,
    token: String,
}

impl Sender {
    fn new(scenario: &Scenario<'_>) -> Result<Self> {
        scenario.apply(&hint_client::sender(scenario.namespace, SENDER))?;
        Ok(Self {
            client: HintClient::open(scenario.sandbox)?,
            token: hint_client::token(scenario.sandbox, scenario.namespace, SENDER)?,
        })
    }
}

/// Everything that a trial needs.
struct Bench<'a> {
    scenario: &'a Scenario<'a>,
    deployments: &'a Watch,
    sender: Option<Sender>,
    run: String,
}

impl Bench<'_> {
    fn trial(&self, number: usize) -> Result<Trial> {
        let fleet = lane(number);
        self.until_idle(&fleet)?;
        thread::sleep(PHASE.mul_f64(fastrand::f64()));
        let run = format!("{}-{number}", self.run);
        let orders: Vec<Value> = (0..ORDERS)
            .map(|index| json!({"order_id": format!("{run}-{index}"), "total": 100}))
            .collect();
        // The connection is opened beforehand, as in a program that places orders all day.
        let connection = self
            .sender
            .as_ref()
            .map(|sender| sender.client.connect())
            .transpose()?;
        let before = Timestamp::now();
        self.scenario
            .place(&["--task-queue", &format!("{NAMESPACE}-{fleet}")], &orders)?;
        if let (Some(sender), Some(connection)) = (&self.sender, connection) {
            let target = Target {
                namespace: self.scenario.namespace,
                fleet: &fleet,
                queue: QUEUE,
            };
            let (status, text) = connection.send(Some(&sender.token), &target)?;
            if status != 202 {
                let why = format!("status {status}: {}", text.trim());
                return Err(Error::source("the operator's response to a hint", why));
            }
        }
        self.until_right(&fleet, before)?;
        self.scenario
            .until_ended(&format!("order-{run}-"), ORDERS as u64, TRIAL_TIMEOUT)?;
        let workflows: Vec<Workflow> = (0..ORDERS)
            .map(|index| self.scenario.workflow(&format!("order-{run}-{index}")))
            .collect::<Result<_>>()?;
        figures(&workflows, &self.steps(&fleet, before)).map_err(|why| {
            self.scenario
                .not_reached(&format!("trial {run} has no result: {why}"))
        })
    }

    /// Waits until a fleet has been at zero for a while.
    fn until_idle(&self, fleet: &str) -> Result<()> {
        let deadline = Instant::now() + IDLE_TIMEOUT;
        while Instant::now() < deadline {
            let seen = self.deployments.replicas();
            let latest = seen.iter().rev().find(|one| one.fleet == fleet);
            if let Some(idle) = latest.filter(|one| (one.desired, one.current) == (0, 0)) {
                let since = between(idle.at, Timestamp::now());
                if since >= REST {
                    return Ok(());
                }
                thread::sleep(REST.saturating_sub(since));
            } else {
                thread::sleep(Duration::from_millis(200));
            }
        }
        Err(self.scenario.not_reached(&format!(
            "the fleet {fleet} did not go to zero within {} s",
            IDLE_TIMEOUT.as_secs()
        )))
    }

    fn until_right(&self, fleet: &str, since: Timestamp) -> Result<()> {
        // At any moment, not only now: six quick orders may have ended, and a replica may be gone,
        // before this check.
        let right = self.deployments.wait(TRIAL_TIMEOUT, |seen| {
            seen.iter()
                .any(|one| one.fleet == fleet && one.at >= since && one.desired >= RIGHT)
                .then_some(())
        });
        right.ok_or_else(|| {
            self.scenario.not_reached(&format!(
                "the operator did not request {RIGHT} replicas for the fleet {fleet} within {} s",
                TRIAL_TIMEOUT.as_secs()
            ))
        })
    }

    /// What a fleet asked for, and from when on.
    fn steps(&self, fleet: &str, since: Timestamp) -> Vec<(Timestamp, u32)> {
        let of_fleet = |one: &Replicas| one.fleet == fleet && one.at >= since;
        self.deployments
            .replicas()
            .into_iter()
            .filter(of_fleet)
            .map(|one| (one.at, one.desired))
            .collect()
    }
}
