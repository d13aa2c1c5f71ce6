//! Policies and traces as people write them, and one small run.

use clap::Parser;
use taskqueue_scaling::Policy;
use taskqueue_simulation::{ReadOptions, Task, Trace};

use super::trace_file::read_trace;
use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn arguments(more: &[&str]) -> Result<Arguments, clap::Error> {
    let line = [
        "simulate",
        "--trace",
        "trace.csv",
        "--policy",
        "policy.yaml",
    ];
    Line::try_parse_from(line.iter().chain(more)).map(|line| line.arguments)
}

fn policy(text: &str, queue: Option<&str>) -> Result<Policy, String> {
    let read = read_policy(text, Choice::new(queue, false)).map(|queue| queue.policy);
    read.map_err(|error| format!("{error:#}"))
}

const BARE: &str =
    "replicas: {min: 1, max: 7}\nscaling: {queueWaitTarget: 2s}\ndrain: {gracePeriod: 1m}\n";

#[test]
fn a_bare_policy_is_read_with_the_defaults_of_the_resource() {
    let expected = Policy {
        min: 1,
        max: 7,
        queue_wait_target: std::time::Duration::from_secs(2),
        drain_grace_period: std::time::Duration::from_mins(1),
        ..Policy::default()
    };
    assert_eq!(policy(BARE, None), Ok(expected));
    let least = Policy {
        max: 3,
        ..Policy::default()
    };
    assert_eq!(policy("replicas: {max: 3}", None), Ok(least));
}

#[test]
fn the_policy_of_one_queue_is_taken_from_a_resource_among_others() {
    let orders = include_str!("../../../../crds/examples/orders.yaml");
    let mut expected = Policy {
        max: 6,
        queue_wait_target: std::time::Duration::from_secs(10),
        slots_per_replica: 10,
        cooldown_period: std::time::Duration::from_secs(30),
        drain_grace_period: std::time::Duration::from_mins(1),
        ..Policy::default()
    };
    expected.behavior.scale_down.stabilization_window = std::time::Duration::from_secs(30);
    assert_eq!(policy(orders, Some("payments")), Ok(expected.clone()));
    let among = format!("kind: TemporalConnection\nspec: {{address: a:1}}\n---\n{orders}");
    assert_eq!(policy(&among, Some("payments")), Ok(expected));
}

#[test]
fn an_invalid_policy_is_refused_with_the_field_and_the_remedy() {
    let orders = include_str!("../../../../crds/examples/orders.yaml");
    let typo = orders.replace("queueWaitTarget: 30s", "queueWaitTargt: 30s");
    let twice = format!("{orders}\n---\n{orders}");
    let refused = |text: &str, queue: Option<&str>| policy(text, queue).expect_err(text);
    let cases = [
        refused("", None),
        refused("kind: Deployment", None),
        refused("[1, 2]", None),
        refused("{", None),
        refused(&twice, None),
        refused(orders, None),
        refused(orders, Some("mails")),
        refused(BARE, Some("mails")),
        refused(&typo, Some("payments")),
        refused("scaling: {queueWaitTarget: 5s}", None),
        refused("queueWaitTarget: 5s", None),
        refused("replicas: {max: 3}\nscaling: {queueWaitTargt: 5s}", None),
        refused("replicas: {max: 3}\nscaling: {queueWaitTarget: 5}", None),
        refused(
            "replicas: {min: 4, max: 3}\nscaling: {targetUtilization: 0}",
            None,
        ),
        refused("replicas: {max: 4000000000}", None),
        refused("replicas: {max: 0}", None),
        refused("replicas: {max: -1}", None),
    ];
    insta::assert_snapshot!(cases.join("\n=====\n"));
}

fn trace(name: &str, text: &str) -> anyhow::Result<TraceFile> {
    read_trace(name, text.as_bytes(), ReadOptions::default())
}

#[test]
fn a_trace_of_unix_times_begins_with_its_first_arrival() {
    let task = |arrives| Task {
        arrives,
        takes: 1_500,
    };
    let about = "2 tasks from a file of arrivals and durations";
    let expected = Trace::new("mine", about, vec![task(0), task(250)]);
    let read = trace(
        "mine",
        "\u{feff}arrival,duration\n1763800000.5,1.5\n1763800000.75,1.5\n",
    );
    assert_eq!(read.unwrap().trace, expected);
}

#[test]
fn an_invalid_trace_is_refused_with_the_line_or_the_unit() {
    let refused = |bytes: &[u8]| {
        let read = read_trace("mine", bytes, ReadOptions::default());
        format!("{:#}", read.expect_err("an invalid trace"))
    };
    let endless = vec![b'1'; 200_000];
    let cases: [&[u8]; 9] = [
        b"",
        b"0,1\nsoon,2\n",
        b"1o,2\n2,3\n",
        b"0,1\n1,NaN\n",
        b"0,1\n900000000,1\n",
        b"0,90000000\n",
        b"when,how long\n0,1\n",
        b"\xfd7zXZ\x00\x00\n",
        &endless,
    ];
    insta::assert_snapshot!(cases.map(refused).join("\n"));
}

#[test]
fn the_flags_say_which_part_of_which_trace_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let minutes: Vec<String> = (1..=60).map(|minute| minute.to_string()).collect();
    let trace = write(
        "day.csv",
        &format!(
            "HashOwner,HashApp,HashFunction,Trigger,{}\no,app,one,queue,{}\no,app,two,http,{}\n",
            minutes.join(","),
            vec!["50"; 60].join(","),
            vec!["0"; 60].join(","),
        ),
    );
    let durations = write(
        "durations.csv",
        "HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,percentile_Average_0,\
         percentile_Average_1,percentile_Average_25,percentile_Average_50,percentile_Average_75,\
         percentile_Average_99,percentile_Average_100\no,app,one,9,9,9,9,9,9,9,9,9,9,9\n",
    );
    let read = |flags: &[&str]| {
        let line = ["simulate", "--policy", "policy.yaml", "--trace", &trace];
        let line = Line::try_parse_from(line.iter().chain(flags)).unwrap();
        line.arguments.trace.read()
    };
    let known = ["--durations", &durations, "--function", "app/o"];
    let part = [known.as_slice(), &["--from", "30m", "--for", "20m"]].concat();
    let sample = [known.as_slice(), &["--sample", "3000"]].concat();
    let read_all = read(&known).unwrap();
    assert_eq!(read_all.trace.name, "day");
    assert_eq!(read_all.trace.tasks.len(), 3_000);
    assert_eq!(read_all.trace.work(), 27_000);
    assert_eq!(read(&part).unwrap().trace.tasks.len(), 1_000);
    assert!(read(&sample).unwrap().trace.tasks.len() < 10);
    let refused = [
        read(&["--durations", &trace]),
        read(&["--durations", "/nowhere/durations.csv"]),
        read(&["--durations", &durations, "--token-times", "1,2,3"]),
        read(&[]),
    ];
    let refused = refused.map(|read| {
        let text = format!("{:#}", read.expect_err("cannot be read"));
        text.replace(&*folder.path().to_string_lossy(), "FOLDER")
    });
    insta::assert_snapshot!(refused.join("\n"));
}

#[test]
fn flags_out_of_bounds_are_refused() {
    for wrong in [
        ["--slots", "0"],
        ["--startup", "2h"],
        ["--heartbeat", "0s"],
        ["--cache", "1"],
        ["--rate-limit", "0"],
        ["--from", "1"],
        ["--for", "0s"],
        ["--sample", "0"],
        ["--token-times", "1,2"],
    ] {
        let refusal = arguments(&wrong).expect_err(wrong[0]).to_string();
        assert!(refusal.contains(wrong[0]), "{refusal}");
    }
}

#[test]
fn the_example_is_compared_and_drawn() {
    let burst = include_str!("../../../simulation/examples/burst.csv");
    let example = include_str!("../../../simulation/examples/policy.yaml");
    let trace = trace("burst", burst).unwrap();
    let queue = read_policy(example, Choice::Only).unwrap();
    let (text, comparison) = report(trace.into(), queue, &arguments(&["--slots", "4"]).unwrap());
    insta::assert_snapshot!(text);
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("pictures");
    assert_eq!(draw("burst", &comparison, &folder).unwrap(), 8);
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let ours = std::fs::read_to_string(folder.join("burst-taskqueue-operator.svg")).unwrap();
    assert_eq!(ours, svg("burst", &comparison.ours));
    assert_eq!(
        names,
        [
            "burst-fixed-fleet-of-4.svg",
            "burst-grace-of-30-s.svg",
            "burst-heartbeats-of-60-s.svg",
            "burst-hpa-5-per-replica.svg",
            "burst-keda-defaults.svg",
            "burst-keda-tuned-7-per-rep.svg",
            "burst-taskqueue-operator.svg",
            "burst-temporal-rate-based.svg",
        ]
    );
}

#[test]
fn unfinished_tasks_and_an_unsimulated_mode_are_reported() {
    let queue = read_policy("replicas: {max: 2}\nscaling: {mode: Paused}", Choice::Only).unwrap();
    let trace = trace("one", "0,1\n1,90000\n").unwrap();
    let (text, comparison) = report(trace.into(), queue, &arguments(&[]).unwrap());
    assert_eq!(comparison.ours.summary.unfinished, 1);
    let lines = [
        "taskqueue-operator: tasks unfinished four hours after the end: 1\n",
        "\nscaling.mode is treated as Active\n",
    ];
    assert!(lines.iter().all(|line| text.contains(line)), "{text}");
}
