//! `--from-prometheus` against a server on loopback.

use clap::Parser;
use taskqueue_exposition::table;

use super::fake_prometheus::{FakePrometheus, Mood, Stored};
use super::*;

/// 2026-11-30 12:00:00 UTC.
const NOW: i32 = 1_796_040_000;
const POLICY: &str = "replicas: {min: 0, max: 10}\nscaling: {queueWaitTarget: 5s}\n";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// The labels of a queue, and further ones such as `cluster=a`.
fn labels(name: &str, further: &[&str]) -> std::collections::BTreeMap<String, String> {
    let all = [
        "namespace=shop",
        "name=orders",
        "queue=payments",
        "task_queue=pay",
        "instance=10.0.0.1:8080",
    ];
    let mut labels: std::collections::BTreeMap<String, String> = all
        .iter()
        .chain(further)
        .filter_map(|label| label.split_once('='))
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .collect();
    labels.insert("__name__".to_owned(), name.to_owned());
    labels
}

/// Two tasks of 2 s per second on three replicas of four slots, scraped every 15 s in these hours
/// before now. Every ten minutes, 60 tasks wait for up to 20 s.
fn load(hours: std::ops::Range<i32>, further: &[&str]) -> Vec<Stored> {
    let times = || (NOW - hours.end * 3600 + 15..=NOW - hours.start * 3600).step_by(15);
    let since = |at: i32| at.rem_euclid(600);
    let waiting = |at: i32| {
        if (300..330).contains(&since(at)) {
            1.0
        } else {
            0.0
        }
    };
    let series = |name: &str, kind: &str, value: &dyn Fn(i32) -> f64| {
        let more: &[&str] = match kind {
            "" => &[],
            "backlog" => &["source=backlog"],
            "workflow" => &["task_type=workflow"],
            _ => &["task_type=activity"],
        };
        Stored {
            labels: labels(name, &[more, further].concat()),
            samples: times()
                .map(|at| (f64::from(at), value(at).to_string()))
                .collect(),
        }
    };
    vec![
        series(table::ADD_RATE.name, "activity", &|_| 2.0),
        series(table::DISPATCH_RATE.name, "activity", &|_| 2.0),
        series(table::BACKLOG.name, "activity", &|at| 40.0 * waiting(at)),
        series(table::BACKLOG_AGE.name, "activity", &|at| {
            waiting(at) * f64::from(since(at) - 290)
        }),
        series(table::SLOTS_USED.name, "activity", &|_| 4.0),
        series(table::SLOTS_AVAILABLE.name, "activity", &|_| 8.0),
        series(table::SERVICE_TIME.name, "activity", &|_| 2.0),
        series(table::SERVICE_TIME_LEARNED.name, "activity", &|_| 1.0),
        series(table::ADD_RATE.name, "workflow", &|_| 1.0),
        series(table::SLOTS_USED.name, "workflow", &|_| 1.0),
        series(table::SLOTS_AVAILABLE.name, "workflow", &|_| 99.0),
        series(table::READY.name, "", &|_| 3.0),
        series(table::CURRENT.name, "", &|_| 3.0),
        series(table::WAIT_TARGET.name, "", &|_| 5.0),
        series(table::READING_AGE.name, "backlog", &|_| 1.0),
    ]
}

/// Runs the command line against a server, as a person would, with the output's ports removed.
async fn simulated(server: &FakePrometheus, more: &[&str]) -> Result<String, String> {
    simulated_at(&server.url, &server.url, &ProxyVariables::default(), more).await
}

async fn simulated_at(
    url: &str,
    hidden: &str,
    proxies: &ProxyVariables,
    more: &[&str],
) -> Result<String, String> {
    // Another test may have installed it.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let policy = policy.to_string_lossy();
    let line = ["simulate", "--policy", &policy, "--from-prometheus", url];
    let fleet = ["--fleet", "shop/orders"];
    let fleet = if more.contains(&"--fleet") {
        &[][..]
    } else {
        &fleet
    };
    let line = line.iter().chain(fleet).chain(more);
    let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    let done = simulate(&line.arguments, proxies, i64::from(NOW) * 1000).await;
    let hide = |text: String| text.replace(hidden, "http://PROMETHEUS");
    done.map(hide).map_err(|error| hide(format!("{error:#}")))
}

#[tokio::test]
async fn a_recorded_hour_is_rebuilt_compared_with_what_was_measured_and_simulated() {
    let server = FakePrometheus::start(load(0..2, &[]), Mood::Warns);
    let flags = ["--since", "1h", "--queue", "payments"];
    insta::assert_snapshot!(simulated(&server, &flags).await.unwrap());
    let [(query, time)] = server.queries().try_into().unwrap();
    let metrics: Vec<&str> = super::recording::metrics().to_vec();
    assert_eq!(
        query,
        format!(
            "{{__name__=~\"{}\",namespace=\"shop\",name=\"orders\",queue=\"payments\"}}\
             [3600000ms]",
            metrics.join("|")
        )
    );
    assert_eq!(time, format!("{NOW}.000"));
}

#[tokio::test]
async fn a_long_time_is_read_in_pieces_and_no_sample_counts_twice() {
    let server = FakePrometheus::start(load(0..13, &[]), Mood::Well);
    let text = simulated(&server, &["--since", "13h"]).await.unwrap();
    let asked: Vec<(String, String)> = server.queries();
    let ranges: Vec<&str> = asked
        .iter()
        .map(|(query, _)| query.split_once('[').unwrap().1)
        .collect();
    assert_eq!(ranges, ["21600000ms]", "21600000ms]", "3600000ms]"]);
    let times: Vec<&String> = asked.iter().map(|(_, time)| time).collect();
    let ends = [7, 1, 0].map(|hour: i32| format!("{}.000", NOW - hour * 3600));
    assert_eq!(times, ends.iter().collect::<Vec<_>>());
    assert!(text.contains("3120 readings of the task queue"), "{text}");
    // A part in the middle: --for counts from --since on.
    let text = simulated(&server, &["--since", "13h", "--for", "1h"])
        .await
        .unwrap();
    assert!(
        text.contains("from 2026-11-29 23:00:00 UTC to 2026-11-30 00:00:00 UTC"),
        "{text}"
    );
}

#[tokio::test]
async fn each_failure_names_the_server_the_query_and_what_to_do() {
    let answers = |status, body| Mood::Answers(status, body);
    let moods = [
        answers("503 Service Unavailable", "the store is starting"),
        answers("200 OK", "<html><title>Sign in</title></html>"),
        answers("401 Unauthorized", ""),
        answers("403 Forbidden", "no"),
        answers("404 Not Found", "404 page not found"),
        answers(
            "302 Found\r\nlocation: https://login.example/start?state=secret",
            "",
        ),
        answers(
            "400 Bad Request",
            r#"{"status":"error","errorType":"bad_data","error":"parse error at char 3"}"#,
        ),
        answers(
            "422 Unprocessable Entity",
            r#"{"status":"error","errorType":"execution","error":"too many samples"}"#,
        ),
        answers(
            "503 Service Unavailable",
            r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#,
        ),
        answers(
            "200 OK",
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
        ),
        answers("200 OK", ""),
        Mood::BreaksOff,
    ];
    let mut texts = Vec::new();
    for mood in moods {
        let server = FakePrometheus::start(Vec::new(), mood);
        let flags = ["--queue", "q", "--since", "1h"];
        let text = simulated(&server, &flags).await.unwrap_err();
        let (message, query) = text.split_once("\nthe query was: ").unwrap();
        assert!(query.starts_with("{__name__=~"), "{query}");
        texts.push(message.to_owned());
    }
    let silent = FakePrometheus::start(Vec::new(), Mood::Silent);
    let flags = ["--request-timeout", "300ms"];
    texts.push(simulated(&silent, &flags).await.unwrap_err());
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let none = ProxyVariables::default();
    texts.push(simulated_at(&url, &url, &none, &[]).await.unwrap_err());
    let cut = |text: String| {
        text.split("\nthe query")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let texts: Vec<String> = texts.into_iter().map(cut).collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[tokio::test]
async fn a_choice_that_only_the_user_can_make_is_asked_for() {
    let other = |label: &str| -> Vec<Stored> {
        let mut all = load(0..1, &["cluster=a"]);
        all.extend(load(0..1, &["cluster=a", label]));
        all
    };
    let cases: [(Vec<Stored>, &[&str]); 8] = [
        (other("cluster=b"), &[]),
        (other("queue=mails"), &[]),
        (other("task_queue=old"), &[]),
        (other("instance=10.0.0.2:8080"), &[]),
        (load(0..1, &[]), &["--task-type", "nexus"]),
        (other("queue=mails"), &["--queue", "invoices"]),
        (load(0..1, &[]), &["--fleet", "shop/carts"]),
        (Vec::new(), &[]),
    ];
    let mut texts = Vec::new();
    for (series, flags) in cases {
        let server = FakePrometheus::start(series, Mood::Well);
        let flags = [flags, &["--since", "1h"]].concat();
        let text = simulated(&server, &flags).await;
        texts.push(text.map_or_else(|error| error, |_| "ran".to_owned()));
    }
    insta::assert_snapshot!(texts.join("\n"));
    let server = FakePrometheus::start(other("cluster=b"), Mood::Well);
    let flags = [
        "--since",
        "1h",
        "--match",
        "cluster=b",
        "--task-type",
        "workflow",
    ];
    let text = simulated(&server, &flags).await.unwrap();
    let (query, _) = server.queries().remove(0);
    assert!(query.contains(",cluster=\"b\"}["), "{query}");
    // Of the workflow tasks, only the add rate and the slots are recorded.
    for part in [
        "from the workflow metrics of fleet shop/orders, queue payments,",
        "\narrivals: 3585, by the add rate alone, ",
        "\nhow far the waits are from the measured ones is unknown: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn an_operator_that_restarts_is_read_through() {
    let mut series = load(1..2, &["pod=first"]);
    series.extend(load(0..1, &["pod=second", "instance=10.0.0.2:8080"]));
    let server = FakePrometheus::start(series, Mood::Well);
    let text = simulated(&server, &["--since", "2h"]).await.unwrap();
    assert!(text.contains("480 readings of the task queue"), "{text}");
    assert!(!text.contains("left out"), "{text}");
}

#[tokio::test]
async fn a_token_and_a_password_are_sent_and_not_shown() {
    const PASSWORD: &str = "a-password-that-nobody-may-see";
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{PASSWORD}\n")).unwrap();
    let server = FakePrometheus::start(Vec::new(), Mood::Answers("403 Forbidden", ""));
    let flags = ["--bearer-token-file", &token.to_string_lossy()];
    let refused = simulated(&server, &flags).await.unwrap_err();
    let with_password = server
        .url
        .replace("http://", &format!("http://me:{PASSWORD}@"));
    let none = ProxyVariables::default();
    let shown = simulated_at(&with_password, &server.url, &none, &[])
        .await
        .unwrap_err();
    let heads = server.heads();
    assert!(
        heads[0].contains(&format!("authorization: Bearer {PASSWORD}\r\n")),
        "{heads:?}"
    );
    assert!(heads[1].contains("authorization: Basic bWU6"), "{heads:?}");
    for text in [refused, shown] {
        assert!(text.contains("http://PROMETHEUS "), "{text}");
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_used() {
    let proxy = FakePrometheus::start(load(0..1, &[]), Mood::Well);
    let of =
        |url: String| ProxyVariables::read(move |name| (name == "HTTP_PROXY").then(|| url.clone()));
    let url = "http://prometheus.invalid:9090/prefix";
    let flags = ["--since", "1h"];
    let text = simulated_at(url, url, &of(proxy.url.clone()), &flags)
        .await
        .unwrap();
    assert!(text.contains("240 readings"), "{text}");
    let heads = proxy.heads();
    assert!(
        heads[0].starts_with("GET http://prometheus.invalid:9090/prefix/api/v1/query?"),
        "{heads:?}"
    );
    let refused = simulated_at(url, url, &of("socks5://a:1".to_owned()), &flags).await;
    assert!(refused.unwrap_err().contains("must name an HTTP proxy"));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let empty = empty.to_string_lossy();
    let server = FakePrometheus::start(Vec::new(), Mood::Well);
    for (flag, path) in [
        ("--bearer-token-file", "/nowhere/token"),
        ("--prometheus-ca", "/nowhere/ca.pem"),
        ("--prometheus-ca", &empty),
    ] {
        let text = simulated(&server, &[flag, path]).await.unwrap_err();
        assert!(text.contains(path) && text.contains(flag), "{text}");
    }
    assert!(server.heads().is_empty());
}

#[test]
fn exactly_one_trace_is_given() {
    let parse = |line: &[&str]| {
        let head = ["simulate", "--policy", "p.yaml"];
        let parsed = Line::try_parse_from(head.iter().chain(line));
        parsed
            .map(|line| line.arguments)
            .map_err(|error| error.to_string())
    };
    let prometheus = ["--from-prometheus", "http://h:9090/", "--fleet", "a/b"];
    let with = |more: &[&'static str]| parse(&[prometheus.as_slice(), more].concat());
    let url = with(&[]).unwrap().recording.from_prometheus.unwrap();
    assert_eq!(url.to_string(), "http://h:9090");
    for (refused, flag) in [
        (parse(&[]), "--trace"),
        (parse(&prometheus[..2]), "--fleet"),
        (with(&["--trace", "t.csv"]), "--trace"),
        (with(&["--from", "1h"]), "--from"),
        (with(&["--sample", "2"]), "--sample"),
        (with(&["--since", "1s"]), "--since"),
        (with(&["--task-type", "other"]), "--task-type"),
        (with(&["--match", "cluster"]), "--match"),
        (
            parse(&["--trace", "t.csv", "--since", "1h"]),
            "--from-prometheus",
        ),
        (
            parse(&["--trace", "t.csv", "--match", "a=b"]),
            "--from-prometheus",
        ),
    ] {
        let text = refused.expect_err(flag);
        assert!(text.contains(flag), "{text}");
    }
    for wrong in ["h:9090", "ftp://h", "http://h?a=b", "http://h#a", ""] {
        let text = parse(&["--fleet", "a/b", "--from-prometheus", wrong]).expect_err(wrong);
        assert!(text.contains("http://HOST:PORT"), "{text}");
    }
}
