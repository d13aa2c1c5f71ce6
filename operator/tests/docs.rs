//! The documentation against the code: blocks that are made from it, words that must exist in it, links.
//!
//! Reads files of the repository; with `UPDATE_DOCS=1` it rewrites the blocks in `docs/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as _, Command};
use serde_json::Value;
use taskqueue_api::{ConditionType, Reason};
use taskqueue_operator::error::{Class, Error};
use taskqueue_operator::metrics::table::{self, Kind, Spec};
use taskqueue_operator::settings::Settings;
use taskqueue_scaling::{
    self as scaling, Backlog, History, Observation, PerType, PodPhase, PodSlots, Policy, Reading,
    Replicas, Slots, Stuck, Time, TypeBacklog, TypeSlots, UnknownReason, decide,
};
use taskqueue_temporal::ReadersConfig;

const SCALING: &str = "docs/scaling.md";
const OPERATIONS: &str = "docs/operations.md";
const ALL: [&str; 5] = [
    "README.md",
    "ARCHITECTURE.md",
    SCALING,
    OPERATIONS,
    "worker/README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the operator lies in the repository")
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

// ---------------------------------------------------------------- the blocks

#[test]
fn the_tables_of_scaling_are_those_of_the_code() {
    check(
        SCALING,
        &[
            ("worked-example", worked_example()),
            ("call-budget", call_budget()),
            ("quiet-budget", quiet_budget()),
            ("defaults", defaults()),
            ("simulation-summary", simulation_summary()),
            ("simulation-tables", simulation_tables()),
        ],
    );
}

#[test]
fn the_tables_of_operations_are_those_of_the_code() {
    check(
        OPERATIONS,
        &[
            ("conditions", conditions()),
            ("reasons", reasons(|word| !word.starts_with("Event"))),
            ("events", reasons(|word| word.starts_with("Event"))),
            ("scaling-reasons", scaling_reasons()),
            ("metrics", metrics()),
            ("alerts", alerts()),
            ("flags", flags()),
            ("rights", rights()),
            ("errors", errors()),
        ],
    );
}

/// Compares the blocks of a file with what they should hold, or rewrites them.
fn check(path: &str, blocks: &[(&str, String)]) {
    let before = read(path);
    let mut after = before.clone();
    for (name, body) in blocks {
        let (begin, end) = markers(name);
        let (head, rest) = after
            .split_once(&begin)
            .unwrap_or_else(|| panic!("{path} has no line {begin}"));
        let (_, tail) = rest
            .split_once(&end)
            .unwrap_or_else(|| panic!("{path} has no line {end}"));
        after = format!("{head}{begin}\n{}\n{end}{tail}", body.trim_end());
    }
    let known: BTreeSet<String> = blocks.iter().map(|(name, _)| markers(name).0).collect();
    let marked = before
        .lines()
        .filter(|line| line.starts_with("<!-- begin: "));
    let unknown: Vec<&str> = marked.filter(|line| !known.contains(*line)).collect();
    assert_eq!(unknown, Vec::<&str>::new(), "nobody makes these blocks");
    if before == after {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(path), after).unwrap();
        return;
    }
    let differs = before.lines().zip(after.lines()).find(|(a, b)| a != b);
    panic!(
        "{path} is not what the code says; run UPDATE_DOCS=1 cargo test -p taskqueue-operator --test docs. First: {differs:#?}"
    );
}

fn markers(name: &str) -> (String, String) {
    (
        format!("<!-- begin: {name} -->"),
        format!("<!-- end: {name} -->"),
    )
}

/// A table in Markdown. A bar in a cell would end it.
fn rows(head: &[&str], body: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = line(&head);
    text.push_str(&line(&vec!["---".to_owned(); head.len()]).replace(' ', ""));
    for cells in body {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&line(&cells));
    }
    text
}

fn code(word: impl std::fmt::Display) -> String {
    format!("`{word}`")
}

fn conditions() -> String {
    rows(
        &["condition", "when it is True"],
        ConditionType::ALL.map(|kind| vec![code(kind), kind.describe().to_owned()]),
    )
}

fn reasons(keep: impl Fn(&str) -> bool) -> String {
    let body = Reason::OWN.iter().filter(|reason| keep(reason.describe()));
    rows(
        &["reason", "meaning"],
        body.map(|reason| {
            let meaning = reason.describe();
            let meaning = meaning.strip_prefix("Event: ").unwrap_or(meaning);
            vec![code(reason), meaning.to_owned()]
        }),
    )
}

fn scaling_reasons() -> String {
    rows(
        &["reason", "what it is", "meaning"],
        scaling::Reason::ALL.map(|reason| {
            let kind = if reason.is_limit() { "limit" } else { "demand" };
            vec![
                code(reason.as_str()),
                kind.to_owned(),
                reason.describe().to_owned(),
            ]
        }),
    )
}

fn metrics() -> String {
    let row = |spec: &Spec| {
        let kind = match spec.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = spec.labels.iter().map(code).collect();
        vec![
            code(spec.name),
            kind.to_owned(),
            labels.join(", "),
            spec.help.to_owned(),
        ]
    };
    rows(
        &["metric", "type", "labels", "meaning"],
        table::ALL.iter().map(row),
    )
}

fn rules() -> Value {
    serde_saphyr::from_str(&read("charts/taskqueue-operator/files/rules.yaml")).unwrap()
}

fn alerts() -> String {
    let rules = rules();
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let row = |rule: &Value| {
        let name = rule["alert"].as_str()?;
        let text = |value: &Value| plain(value.as_str().unwrap_or_default());
        Some(vec![
            code(name),
            text(&rule["labels"]["severity"]),
            rule["for"].as_str().unwrap_or("at once").to_owned(),
            text(&rule["annotations"]["description"]),
            text(&rule["annotations"]["runbook"]),
        ])
    };
    rows(
        &["alert", "severity", "after", "what it says", "what to do"],
        rules.filter_map(row),
    )
}

/// The text of an annotation with its placeholders as words in capitals.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, tail) = after.split_once("}}").expect("a placeholder ends");
        let word = inside.split('|').next().unwrap_or_default().trim();
        let word = word.trim_start_matches("$labels.").trim_start_matches('$');
        plain.push_str(before);
        plain.push_str(&word.to_uppercase());
        rest = tail;
    }
    plain.push_str(rest);
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn flags() -> String {
    let command = Settings::augment_args(Command::new("run"));
    let row = |arg: &clap::Arg| {
        let defaults: Vec<String> = arg
            .get_default_values()
            .iter()
            .map(|value| code(value.to_string_lossy()))
            .collect();
        vec![
            code(format!("--{}", arg.get_long().unwrap_or_default())),
            arg.get_env()
                .map(|name| code(name.to_string_lossy()))
                .unwrap_or_default(),
            defaults.join(", "),
            arg.get_help().map(ToString::to_string).unwrap_or_default(),
        ]
    };
    rows(
        &["flag", "variable", "default", "meaning"],
        command.get_arguments().map(row),
    )
}

/// The rules of the chart, each with the comment above it.
fn rights() -> String {
    let text = read("charts/taskqueue-operator/templates/_rbac.tpl");
    let (_, rules) = text
        .split_once("workloadRules\" -}}")
        .expect("the chart defines the rules");
    let mut why = String::new();
    let mut body: Vec<Vec<String>> = Vec::new();
    let mut group = String::new();
    let mut kinds = String::new();
    let list = |line: &str, key: &str| {
        let value = line.trim().trim_start_matches("- ").strip_prefix(key)?;
        Some(value.trim().trim_matches(['[', ']']).to_owned())
    };
    for line in rules.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            write!(why, "{comment} ").unwrap();
        } else if let Some(value) = list(line, "apiGroups:") {
            group = value.trim_matches('"').to_owned();
        } else if let Some(value) = list(line, "resources:") {
            kinds = value;
        } else if let Some(verbs) = list(line, "verbs:") {
            let group = if group.is_empty() { "core" } else { &group };
            let why = std::mem::take(&mut why).trim().to_owned();
            body.push(vec![group.to_owned(), kinds.clone(), verbs, why]);
        }
    }
    assert!(!body.is_empty() && body.iter().all(|row| !row[3].is_empty()));
    rows(&["group", "resources", "verbs", "why"], body)
}

fn errors() -> String {
    let seconds = |class: Class, attempt| format!("{} s", class.wait(attempt).as_secs());
    rows(
        &[
            "class",
            "reasons",
            "tried again after",
            "at the latest after",
        ],
        Class::ALL.map(|class| {
            let reasons: Vec<String> = Error::reasons(class).iter().map(code).collect();
            vec![
                code(class.as_str()),
                reasons.join(", "),
                seconds(class, 0),
                seconds(class, u32::MAX),
            ]
        }),
    )
}

fn defaults() -> String {
    let policy = Policy::default();
    let time = |time: Duration| taskqueue_api::DurationString::from(time).to_string();
    let up = &policy.behavior.scale_up;
    let down = &policy.behavior.scale_down;
    let seconds = |time: Duration| time.as_secs().to_string();
    let percent = |percent: u32| format!("{}.{:02}", percent / 100, percent % 100);
    let values = [
        (
            "replicas.min",
            policy.min.to_string(),
            "Zero is allowed unless you say otherwise. `replicas.max` has no default; you must say it.",
        ),
        (
            "scaling.queueWaitTarget",
            time(policy.queue_wait_target),
            "One read of the statistics; shorter cannot be kept from zero.",
        ),
        (
            "scaling.targetUtilization",
            policy.target_utilization.to_string(),
            "A quarter of the slots takes what arrives before the next read.",
        ),
        (
            "scaling.slotsPerReplica",
            policy.slots_per_replica.to_string(),
            "The SDKs' usual number; only until the workers say theirs.",
        ),
        (
            "scaling.backlogPerReplica",
            "not set".to_owned(),
            "A number that fits one queue only.",
        ),
        (
            "scaling.pollingInterval",
            time(policy.polling_interval),
            "The server's own cache.",
        ),
        (
            "scaling.quietPollingInterval",
            time(policy.quiet_polling_interval),
            "The longest that a quiet queue goes unread when calls are short.",
        ),
        (
            "scaling.cooldownPeriod",
            time(policy.cooldown_period),
            "Twice the server's window of rates.",
        ),
        (
            "scaling.behavior.scaleUp.stabilizationWindowSeconds",
            seconds(up.stabilization_window),
            "Growing is what keeps the target.",
        ),
        (
            "scaling.behavior.scaleUp.tolerance",
            percent(up.tolerance_percent),
            "The HPA's.",
        ),
        (
            "scaling.behavior.scaleUp.policies",
            "none".to_owned(),
            "The right size in one step.",
        ),
        (
            "scaling.behavior.scaleDown.stabilizationWindowSeconds",
            seconds(down.stabilization_window),
            "As long as the cooldown.",
        ),
        (
            "scaling.behavior.scaleDown.tolerance",
            percent(down.tolerance_percent),
            "The HPA's.",
        ),
        (
            "scaling.behavior.scaleDown.policies",
            "none".to_owned(),
            "Busy pods are protected in other ways.",
        ),
        (
            "scaling.fallback",
            "not set".to_owned(),
            "A fleet that holds is the safer guess.",
        ),
        ("scaling.schedule", "none".to_owned(), "Yours to write."),
        (
            "scaling.mode",
            format!("{:?}", policy.mode),
            "Decide and act.",
        ),
        (
            "drain.gracePeriod",
            time(policy.drain_grace_period),
            "Longer than most activities; an idle pod does not use it.",
        ),
    ];
    rows(
        &["field", "default", "why"],
        values.map(|(field, value, why)| vec![code(field), value, why.to_owned()]),
    )
}

// ---------------------------------------------------------------- the call budget

/// As in the reader: a read comes this long after the server's cached value has expired.
const PHASE_MARGIN: Duration = Duration::from_millis(20);

fn period(interval: Duration) -> f64 {
    let config = ReadersConfig::default();
    (interval.max(config.statistics_cache) + PHASE_MARGIN).as_secs_f64()
}

fn call_budget() -> String {
    let config = ReadersConfig::default();
    let budget = f64::from(config.calls_per_second);
    let list = 1.0 / config.workers_interval.as_secs_f64();
    let mut body = Vec::new();
    for queues in [1_u32, 5, 10, 33, 100] {
        for types in [1_u32, 2, 3] {
            let asked = |interval| f64::from(queues * types) / period(interval) + list;
            let five = asked(Duration::from_secs(5));
            let really = (f64::from(queues * types) / (budget - list)).max(period(Duration::ZERO));
            body.push(vec![
                queues.to_string(),
                types.to_string(),
                format!("{five:.1}"),
                format!("{:.1}", asked(Duration::from_secs(10))),
                format!("{:.1}", asked(Duration::from_secs(30))),
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
            "each is read every, at 5 s",
        ],
        body,
    )
}

fn quiet_budget() -> String {
    let config = ReadersConfig::default();
    let policy = Policy::default();
    let half = f64::from(config.calls_per_second) / 2.0;
    let longest = policy.quiet_polling_interval.as_secs_f64();
    let body = [10_u32, 16, 50, 100, 200].map(|queues| {
        let every = [1_u32, 3].map(|types| {
            let paced = f64::from(queues * types) / half;
            let asked = paced.clamp(period(policy.polling_interval), longest);
            let budget = f64::from(config.calls_per_second);
            let list = 1.0 / config.idle_workers_interval.as_secs_f64();
            format!(
                "{:.1} s",
                asked.max(f64::from(queues * types) / (budget - list))
            )
        });
        let [one, three] = every;
        vec![queues.to_string(), one, three]
    });
    rows(
        &[
            "quiet queues",
            "each is read every, 1 task type",
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

fn worked_example() -> String {
    let policy = Policy {
        max: 20,
        queue_wait_target: Duration::from_secs(10),
        slots_per_replica: 10,
        ..Policy::default()
    };
    // 74 tasks at once, then 4 a second until second 100. A task takes 2 s, which nobody knows at first.
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
    let mut asked = 0;
    let mut body = Vec::new();
    for (sequence, moment) in (1..).zip(&story) {
        let now = Time::from_secs(moment.second);
        let observation = observation(sequence, moment, asked);
        history.observe(&policy, &observation, now);
        let decision = decide(&policy, &observation, &history, now);
        history.carried_out(&decision, now);
        asked = decision.desired;
        body.push(vec![
            moment.second.to_string(),
            decision.reason.as_str().to_owned(),
            decision.sentence,
        ]);
    }
    rows(&["second", "reason", "sentence"], body)
}

fn observation(sequence: u64, moment: &Moment, asked: u32) -> Observation {
    let now = Time::from_secs(moment.second);
    let (ready, used, processed_total) = moment.pods;
    let ready = ready.min(asked);
    let activity = TypeBacklog {
        count: moment.waiting,
        age: Duration::from_secs(moment.age),
        add_rate_milli: moment.arrivals_milli,
        ..TypeBacklog::default()
    };
    let pod = |number: u32| PodSlots {
        pod: format!("pod-{number}"),
        phase: PodPhase::Ready,
        fresh: true,
        reported_at: Some(now),
        types: PerType {
            activity: Some(TypeSlots {
                used,
                available: Some(10 - used),
                processed_total,
            }),
            ..PerType::default()
        },
    };
    Observation {
        replicas: Replicas {
            asked,
            ready,
            starting: asked - ready,
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
            },
            taken_at: now,
        },
    }
}

// ---------------------------------------------------------------- the simulation's snapshots

/// The standard traces, in their order.
const TRACES: [&str; 13] = [
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

const SNAPSHOTS: &str = "operator/simulation/tests/simulation/snapshots";

fn snapshot(trace: &str) -> String {
    let text = read(&format!("{SNAPSHOTS}/simulation__bar__{trace}.snap"));
    let mut parts = text.splitn(3, "---\n");
    parts.nth(2).expect("a head and a body").trim().to_owned()
}

fn simulation_tables() -> String {
    TRACES
        .map(|trace| {
            let text = snapshot(trace);
            let (title, rest) = text.split_once('\n').expect("a title");
            format!("### {title}\n```\n{}\n```\n", rest.trim())
        })
        .join("\n")
}

fn simulation_summary() -> String {
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
        format!("{} / {} / {}", numbers[2], numbers[5], numbers[9])
    };
    let body = TRACES.map(|trace| {
        let text = snapshot(trace);
        let cells = policies.map(|(policy, _)| cell(&text, policy));
        [vec![trace.replace('_', " ")], cells.to_vec()].concat()
    });
    let names = policies.map(|(_, name)| name);
    rows(&[&["trace"][..], &names].concat(), body)
}

// ---------------------------------------------------------------- words and links

#[test]
fn every_snapshot_of_a_trace_is_in_the_documentation() {
    let names = fs::read_dir(root().join(SNAPSHOTS)).unwrap().map(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().into_owned()
    });
    let of_traces: BTreeSet<String> = names
        .filter_map(|name| {
            let trace = name.strip_prefix("simulation__bar__")?;
            Some(trace.trim_end_matches(".snap").to_owned())
        })
        .collect();
    assert_eq!(of_traces, TRACES.map(str::to_owned).into());
}

#[test]
fn every_metric_that_is_named_exists() {
    const PREFIX: &str = "taskqueue_operator_";
    let names: BTreeSet<&str> = table::ALL.iter().map(|spec| spec.name).collect();
    let known = |word: &str| {
        let parts = ["_bucket", "_sum", "_count"];
        names.contains(word)
            || parts
                .iter()
                .filter_map(|part| word.strip_suffix(part))
                .any(|name| {
                    let histogram =
                        |spec: &&Spec| spec.name == name && spec.kind == Kind::Histogram;
                    table::ALL.iter().any(|spec| histogram(&spec))
                })
    };
    let mut unknown = Vec::new();
    for path in ALL {
        let text = read(path);
        for (at, _) in text.match_indices(PREFIX) {
            let rest = &text[at..];
            let end = rest
                .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
                .unwrap_or(rest.len());
            let word = &rest[..end];
            // The prefix alone means all of them.
            if word != PREFIX && !known(word) {
                unknown.push(format!("{path}: {word}"));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn every_reason_says_what_to_do_and_every_limit_what_it_does() {
    let operations = by_hand(&read(OPERATIONS));
    let scaling = by_hand(&read(SCALING));
    let own = Reason::OWN.iter().map(|reason| reason.as_str());
    let stuck = Stuck::ALL.map(Stuck::as_str);
    let unknown = [
        UnknownReason::NotReadYet,
        UnknownReason::TemporalUnavailable,
        UnknownReason::TemporalAccessDenied,
        UnknownReason::Throttled,
        UnknownReason::NotSupported,
        UnknownReason::NoHeartbeats,
        UnknownReason::Malformed,
    ];
    let unknown = unknown.map(UnknownReason::as_str);
    let missing: Vec<&str> = own
        .chain(stuck)
        .chain(unknown)
        .filter(|word| !operations.contains(&code(word)))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "{OPERATIONS}");
    let missing: Vec<&str> = scaling::Reason::ALL
        .map(scaling::Reason::as_str)
        .into_iter()
        .filter(|word| !scaling.contains(&code(word)))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "{SCALING}");
}

/// A text without the blocks that are made.
fn by_hand(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        inside |= line.starts_with("<!-- begin: ");
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= !line.starts_with("<!-- end: ");
    }
    kept
}

#[test]
fn every_alert_that_is_named_exists() {
    let rules = rules().to_string();
    let mut unknown = Vec::new();
    for path in ALL {
        let text = read(path);
        for word in quoted(&text) {
            let alert = word.starts_with("TaskQueue")
                && word.chars().all(|c| c.is_ascii_alphanumeric())
                && !["TaskQueueWorker", "TaskQueue"].contains(&word);
            if alert && !rules.contains(&format!("\"alert\":\"{word}\"")) {
                unknown.push(format!("{path}: {word}"));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn every_link_and_path_leads_somewhere() {
    let mut lost = Vec::new();
    for path in ALL {
        let text = by_hand(&read(path));
        let folder = root().join(path).parent().expect("a folder").to_owned();
        for target in linked(&text) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() {
                root().join(path)
            } else {
                folder.join(file)
            };
            if !there.exists() {
                lost.push(format!("{path}: {target}"));
            } else if !anchor.is_empty() && there.is_file() {
                let text = fs::read_to_string(&there).unwrap();
                if !headings(&text).contains(anchor) {
                    lost.push(format!("{path}: {target} (no such heading)"));
                }
            }
        }
        let paths = quoted(&text).filter(|word| is_path(word));
        lost.extend(
            paths
                .filter(|word| !root().join(word).exists() && !folder.join(word).exists())
                .map(|word| format!("{path}: {word}")),
        );
    }
    assert_eq!(lost, Vec::<String>::new());
}

/// The targets of links inside the repository.
fn linked(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

/// What stands in backticks on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Words that can only be paths of this repository.
fn is_path(word: &str) -> bool {
    let folders = [
        "operator/",
        "charts/",
        "crds/",
        "docs/",
        "worker/",
        "sandbox/",
        "tests/",
    ];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let document = word.ends_with(".md") && !word.contains('*');
    (folders.iter().any(|folder| word.starts_with(folder)) || document) && word.chars().all(plain)
}

/// The anchors of a document's headings, as forges make them.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = text.lines().filter(|line| line.starts_with('#'));
    titles
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}
