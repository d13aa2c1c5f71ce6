//! Policies and traces as people write them, and one small run.

use clap::Parser;
use taskqueue_scaling::Policy;
use taskqueue_simulation::Task;

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
    let read = read_policy(text, queue).map(|queue| queue.policy);
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

#[test]
fn a_trace_of_unix_times_begins_with_its_first_arrival() {
    let task = |arrives| Task {
        arrives,
        takes: 1_500,
    };
    let expected = Trace::new("mine", "2 tasks from a file", vec![task(0), task(250)]);
    let read = read_trace(
        "mine",
        "\u{feff}at,took\n1763800000.5,1.5\n1763800000.75,1.5\n",
    );
    assert_eq!(read.unwrap(), expected);
}

#[test]
fn an_invalid_trace_is_refused_with_the_line_or_the_unit() {
    let refused = |text: &str| format!("{:#}", read_trace("mine", text).expect_err(text));
    let cases = [
        refused(""),
        refused("0,1\nsoon,2\n"),
        refused("1o,2\n2,3\n"),
        refused("0,1\n1,NaN\n"),
        refused("0,1\n900000000,1\n"),
        refused("0,90000000\n"),
    ];
    insta::assert_snapshot!(cases.join("\n"));
}

#[test]
fn flags_out_of_bounds_are_refused() {
    for wrong in [
        ["--slots", "0"],
        ["--startup", "2h"],
        ["--heartbeat", "0s"],
        ["--cache", "1"],
        ["--rate-limit", "0"],
    ] {
        let refusal = arguments(&wrong).expect_err(wrong[0]).to_string();
        assert!(refusal.contains(wrong[0]), "{refusal}");
    }
}

#[test]
fn the_example_is_compared_and_drawn() {
    let burst = include_str!("../../../simulation/examples/burst.csv");
    let example = include_str!("../../../simulation/examples/policy.yaml");
    let trace = read_trace("burst", burst).unwrap();
    let queue = read_policy(example, None).unwrap();
    let (text, comparison) = report(trace, queue, &arguments(&["--slots", "4"]).unwrap());
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
    let queue = read_policy("replicas: {max: 2}\nscaling: {mode: Paused}", None).unwrap();
    let trace = read_trace("one", "0,1\n1,90000\n").unwrap();
    let (text, comparison) = report(trace, queue, &arguments(&[]).unwrap());
    assert_eq!(comparison.ours.summary.unfinished, 1);
    let lines = [
        "taskqueue-operator: tasks unfinished four hours after the end: 1\n",
        "\nscaling.mode is treated as Active\n",
    ];
    assert!(lines.iter().all(|line| text.contains(line)), "{text}");
}
