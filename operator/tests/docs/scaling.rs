//! The generated blocks about scaling and the simulation, made from the code and the snapshots.

use std::time::Duration;

use taskqueue_cli::simulate;
use taskqueue_scaling::{
    Backlog, History, Observation, PerType, PodPhase, PodSlots, Policy, Reading, Replicas, Slots,
    Time, TypeBacklog, TypeSlots, decide,
};
use taskqueue_temporal::ReadersConfig;

use crate::operations::flags_of;
use crate::{code, read, rows};

/// The flags of `simulate`.
pub(crate) fn simulate_flags() -> String {
    flags_of::<simulate::Arguments>()
}

/// A duration as the API writes it.
fn time(duration: Duration) -> String {
    taskqueue_api::DurationString::from(duration).to_string()
}

/// A percentage as the fraction that the API takes.
fn fraction(percent: u32) -> String {
    format!("{}.{:02}", percent / 100, percent % 100)
}

pub(crate) fn defaults() -> String {
    let policy = Policy::default();
    let values = [
        (
            "replicas.min",
            policy.min.to_string(),
            "Zero is allowed by default. `replicas.max` is required and has no default.",
        ),
        (
            "scaling.queueWaitTarget",
            time(policy.queue_wait_target),
            "One interval of reads. From zero, a pod start comes on top.",
        ),
        (
            "scaling.targetUtilization",
            "not set".to_owned(),
            "The wait target and the load decide how many slots stay free.",
        ),
        (
            "scaling.slotsPerReplica",
            policy.slots_per_replica.to_string(),
            "The default of several SDKs; used only until the workers report their own.",
        ),
        (
            "scaling.backlogPerReplica",
            "not set".to_owned(),
            "The right number differs from queue to queue.",
        ),
        (
            "scaling.pollingInterval",
            time(policy.polling_interval),
            "The lifetime of the server's cache.",
        ),
        (
            "scaling.quietPollingInterval",
            time(policy.quiet_polling_interval),
            "The longest time between two reads of a quiet queue when the call budget is short.",
        ),
        (
            "scaling.cooldownPeriod",
            time(policy.cooldown_period),
            "Twice the window over which the server averages rates.",
        ),
        (
            "scaling.fallback",
            "not set".to_owned(),
            "Keeping the replicas is safer.",
        ),
        (
            "scaling.schedule",
            "none".to_owned(),
            "It depends on your load.",
        ),
        (
            "scaling.forecast",
            "none".to_owned(),
            "It helps only if your load recurs.",
        ),
        (
            "scaling.mode",
            format!("{:?}", policy.mode),
            "The operator decides and scales.",
        ),
        (
            "drain.gracePeriod",
            time(policy.drain_grace_period),
            "Longer than most activities; an idle pod does not need it.",
        ),
    ];
    let values = values.into_iter().chain(behavior_defaults(&policy));
    rows(
        &["field", "default", "why"],
        values.map(|(field, value, why)| vec![code(field), value, why.to_owned()]),
    )
}

fn behavior_defaults(policy: &Policy) -> [(&'static str, String, &'static str); 6] {
    let up = &policy.behavior.scale_up;
    let down = &policy.behavior.scale_down;
    let seconds = |time: Duration| time.as_secs().to_string();
    [
        (
            "scaling.behavior.scaleUp.stabilizationWindowSeconds",
            seconds(up.stabilization_window),
            "A fleet must grow at once to meet the target.",
        ),
        (
            "scaling.behavior.scaleUp.tolerance",
            fraction(up.tolerance_percent),
            "The HPA's.",
        ),
        (
            "scaling.behavior.scaleUp.policies",
            "none".to_owned(),
            "The fleet grows to the right size in one step.",
        ),
        (
            "scaling.behavior.scaleDown.stabilizationWindowSeconds",
            seconds(down.stabilization_window),
            "As long as the cooldown.",
        ),
        (
            "scaling.behavior.scaleDown.tolerance",
            fraction(down.tolerance_percent),
            "The HPA's.",
        ),
        (
            "scaling.behavior.scaleDown.policies",
            "none".to_owned(),
            "Busy pods are protected in other ways.",
        ),
    ]
}

// ---------------------------------------------------------------- the call budget

/// As in the reader: a read comes this long after the server's cached value has expired.
const PHASE_MARGIN: Duration = Duration::from_millis(20);

fn period(interval: Duration) -> f64 {
    let config = ReadersConfig::default();
    (interval.max(config.statistics_cache) + PHASE_MARGIN).as_secs_f64()
}

pub(crate) fn call_budget() -> String {
    let config = ReadersConfig::default();
    let budget = f64::from(config.calls_per_second);
    let list = 1.0 / config.workers_interval.as_secs_f64();
    let mut body = Vec::new();
    for queues in [1_u32, 5, 10, 33, 100] {
        for types in [1_u32, 2, 3] {
            let calls = |interval| f64::from(queues * types) / period(interval) + list;
            let five = calls(Duration::from_secs(5));
            let really = (f64::from(queues * types) / (budget - list)).max(period(Duration::ZERO));
            body.push(vec![
                queues.to_string(),
                types.to_string(),
                format!("{five:.1}"),
                format!("{:.1}", calls(Duration::from_secs(10))),
                format!("{:.1}", calls(Duration::from_secs(30))),
                format!("{really:.1} s"),
            ]);
        }
    }
    rows(
        &[
            "queues with work",
            "task types",
            "calls/s at 5 s",
            "calls/s at 10 s",
            "calls/s at 30 s",
            "interval of reads, at 5 s",
        ],
        body,
    )
}

pub(crate) fn quiet_budget() -> String {
    let config = ReadersConfig::default();
    let policy = Policy::default();
    let half = f64::from(config.calls_per_second) / 2.0;
    let longest = policy.quiet_polling_interval.as_secs_f64();
    let body = [10_u32, 16, 50, 100, 200].map(|queues| {
        let every = [1_u32, 3].map(|types| {
            let paced = f64::from(queues * types) / half;
            let interval = paced.clamp(period(policy.polling_interval), longest);
            let budget = f64::from(config.calls_per_second);
            let list = 1.0 / config.idle_workers_interval.as_secs_f64();
            format!(
                "{:.1} s",
                interval.max(f64::from(queues * types) / (budget - list))
            )
        });
        let [one, three] = every;
        vec![queues.to_string(), one, three]
    });
    rows(
        &[
            "quiet queues",
            "interval of reads, 1 task type",
            "3 task types",
        ],
        body,
    )
}

// ---------------------------------------------------------------- the worked example

/// What one reading finds.
struct Moment {
    second: u64,
    waiting: u64,
    age: u64,
    arrivals_milli: u64,
    /// Ready pods, the slots that each has in use, and what each has processed since it started.
    pods: (u32, u32, u64),
}

const fn moment(
    second: u64,
    waiting: u64,
    age: u64,
    arrivals_milli: u64,
    pods: (u32, u32, u64),
) -> Moment {
    Moment {
        second,
        waiting,
        age,
        arrivals_milli,
        pods,
    }
}

pub(crate) fn worked_example() -> String {
    let policy = Policy {
        max: 20,
        queue_wait_target: Duration::from_secs(10),
        slots_per_replica: 10,
        ..Policy::default()
    };
    // 74 tasks at once, then 4 a second until second 100. A task takes 2 s, which nobody knows at
    // first.
    let story = [
        moment(0, 0, 0, 0, (0, 0, 0)),
        moment(5, 74, 2, 0, (0, 0, 0)),
        moment(10, 94, 7, 0, (0, 0, 0)),
        moment(15, 64, 6, 0, (5, 10, 6)),
        moment(20, 0, 0, 0, (6, 4, 25)),
        moment(30, 0, 0, 0, (6, 1, 32)),
        moment(40, 0, 0, 4000, (6, 2, 38)),
        moment(60, 0, 0, 4000, (6, 1, 51)),
        moment(80, 0, 0, 4000, (6, 2, 64)),
        moment(100, 0, 0, 4000, (2, 4, 120)),
        moment(110, 0, 0, 2000, (2, 0, 128)),
        moment(140, 0, 0, 0, (2, 0, 128)),
        moment(175, 0, 0, 0, (2, 0, 128)),
        moment(200, 0, 0, 0, (1, 0, 128)),
        moment(205, 0, 0, 0, (1, 0, 128)),
    ];
    let mut history = History::new();
    let mut requested = 0;
    let mut body = Vec::new();
    for (sequence, moment) in (1..).zip(&story) {
        let now = Time::from_secs(moment.second);
        let observation = observation(sequence, moment, requested);
        history.observe(&policy, &observation, now);
        let decision = decide(&policy, &observation, &history, now);
        history.carried_out(&decision, now);
        requested = decision.desired;
        body.push(vec![
            moment.second.to_string(),
            decision.reason.as_str().to_owned(),
            decision.sentence(),
        ]);
    }
    rows(&["second", "reason", "sentence"], body)
}

fn observation(sequence: u64, moment: &Moment, requested: u32) -> Observation {
    let now = Time::from_secs(moment.second);
    let (ready, used, processed_total) = moment.pods;
    let ready = ready.min(requested);
    let activity = TypeBacklog {
        count: moment.waiting,
        age: Duration::from_secs(moment.age),
        add_rate_milli: moment.arrivals_milli,
        ..TypeBacklog::default()
    };
    let pod = |number: u32| PodSlots {
        pod: format!("pod-{number}"),
        phase: PodPhase::Ready,
        listed: true,
        fresh: true,
        reported_at: Some(now),
        reported_after: Some(now),
        types: PerType {
            activity: Some(TypeSlots {
                used,
                available: Some(10 - used),
                processed_total: Some(processed_total),
            }),
            ..PerType::default()
        },
        elsewhere: None,
    };
    Observation {
        replicas: Replicas {
            requested,
            ready,
            starting: requested - ready,
            ..Replicas::default()
        },
        backlog: Reading::Known {
            value: Backlog {
                sequence,
                types: PerType {
                    activity: Some(activity),
                    ..PerType::default()
                },
            },
            taken_at: now,
        },
        slots: Reading::Known {
            value: Slots {
                pods: (1..=ready).map(pod).collect(),
                ..Slots::default()
            },
            taken_at: now,
        },
        drained: Vec::new(),
    }
}

// ---------------------------------------------------------------- the simulation's snapshots

/// The standard traces, in their order.
pub(crate) const TRACES: [&str; 13] = [
    "steady",
    "ramp",
    "diurnal",
    "flash_x30",
    "flash_x150",
    "mmpp",
    "cron",
    "long_tasks",
    "heavy_tail",
    "beyond_the_grace",
    "outage",
    "rate_limit",
    "restart",
];

pub(crate) const SNAPSHOTS: &str = "operator/simulation/tests/simulation/snapshots";

fn snapshot(trace: &str) -> String {
    body(&format!("bar__{trace}"))
}

fn body(name: &str) -> String {
    let text = read(&format!("{SNAPSHOTS}/simulation__{name}.snap"));
    let mut parts = text.splitn(3, "---\n");
    parts.nth(2).expect("a head and a body").trim().to_owned()
}

pub(crate) fn simulation_tables() -> String {
    TRACES
        .map(|trace| {
            let text = snapshot(trace);
            let (title, rest) = text.split_once('\n').expect("a title");
            format!("### {title}\n```\n{}\n```\n", rest.trim())
        })
        .join("\n")
}

pub(crate) fn simulation_summary() -> String {
    let policies = [
        ("taskqueue-operator", "ours"),
        ("KEDA defaults", "KEDA defaults"),
        ("KEDA tuned", "KEDA tuned"),
        ("HPA", "HPA"),
        ("Temporal rate-based", "Temporal rate-based"),
        ("fixed fleet", "fixed fleet"),
    ];
    let cell = |text: &str, policy: &str| {
        let line = text
            .lines()
            .skip(2)
            .find(|line| line.starts_with(policy))
            .unwrap_or_else(|| panic!("no row for {policy} in {text}"));
        let numbers: Vec<&str> = line.get(24..).unwrap().split_whitespace().collect();
        let cut: u32 = numbers[9..12]
            .iter()
            .map(|cut| cut.parse::<u32>().unwrap())
            .sum();
        format!("{} / {} / {cut}", numbers[2], numbers[5])
    };
    let body = TRACES.map(|trace| {
        let text = snapshot(trace);
        let cells = policies.map(|(policy, _)| cell(&text, policy));
        [vec![trace.replace('_', " ")], cells.to_vec()].concat()
    });
    let names = policies.map(|(_, name)| name);
    rows(&[&["trace"][..], &names].concat(), body)
}

/// The output of the contest's command, as it was reviewed.
pub(crate) fn simulation_contest() -> String {
    let text = read("operator/simulation/examples/contest.txt");
    format!("```\n{}\n```\n", text.trim())
}

/// Workers that are limited by something else than their slots.
pub(crate) fn simulation_throttled() -> String {
    format!("```\n{}\n```\n", body("throttled__throttled"))
}

/// The output of the command about loads that recur, as it was reviewed.
pub(crate) fn simulation_forecast() -> String {
    let text = read("operator/simulation/examples/forecast.txt");
    format!("```\n{}\n```\n", text.trim())
}

/// What was cut off, and what it costs that it is not.
pub(crate) fn simulation_cuts() -> String {
    ["mixed", "standard"]
        .map(|name| format!("```\n{}\n```\n", body(&format!("cuts__{name}"))))
        .join("\n")
}
