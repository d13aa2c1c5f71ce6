//! `--from-prometheus`: reads what a Prometheus recorded of a queue, and rebuilds its trace.
//! Network I/O through [`prometheus`](super::prometheus); `taskqueue-simulation` rebuilds.
//!
//! The samples are read as they were scraped, with a range selector, and not with a range query:
//! that would repeat the last value for five minutes where nothing was scraped.

mod matcher;
mod series;

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use taskqueue_api::{DurationString, duration_between};
use taskqueue_exposition::table;
use taskqueue_kubernetes::proxy::ProxyVariables;
use taskqueue_scaling::TaskType;
use taskqueue_simulation::rebuild::{RebuildOptions, Rebuilt, rebuild};

use super::prometheus::answer::{Kind, Labelled};
use super::prometheus::{AccessArguments, Prometheus, PrometheusUrl};
use super::trace_file::{LONGEST, YEAR};
use matcher::{FleetName, Matcher, selector};

/// A query covers at most this time, in milliseconds, so that no answer is large.
const PIECE: i64 = 6 * 3_600_000;
/// How long ago the window begins, unless a flag says so.
const SINCE: Duration = Duration::from_hours(24);
/// The most fleets that a message lists.
const LISTED: usize = 20;

/// The flags about what was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RecordingArguments {
    /// Instead of --trace: rebuild the trace from the operator's metrics that this Prometheus
    /// holds, such as http://localhost:9090. Any server with its HTTP API will do.
    #[arg(
        long,
        value_name = "URL",
        requires = "fleet",
        conflicts_with_all = ["trace", "from", "sample", "function", "durations", "token_times"]
    )]
    pub from_prometheus: Option<PrometheusUrl>,

    /// Prometheus: the fleet.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "from_prometheus")]
    pub fleet: Option<FleetName>,

    /// Prometheus: how long ago the trace begins, up to 8760h. It ends after --for, or now.
    /// Default: 24h.
    #[arg(
        long,
        value_name = "TIME",
        requires = "from_prometheus",
        value_parser = duration_between(Duration::from_mins(1), YEAR)
    )]
    pub since: Option<DurationString>,

    /// Prometheus: workflow, activity or nexus. Default: the type whose slots were fullest.
    #[arg(long, value_name = "TYPE", requires = "from_prometheus", value_parser = task_type)]
    pub task_type: Option<TaskType>,

    /// Prometheus: a label that the series must have, such as cluster=a. May be given several
    /// times, with =, !=, =~ and !~.
    #[arg(
        long = "match",
        value_name = "LABEL=VALUE",
        requires = "from_prometheus"
    )]
    pub matchers: Vec<Matcher>,

    /// How it is reached.
    #[command(flatten)]
    pub access: AccessArguments,
}

/// The names of the metrics that are read.
pub(super) fn metrics() -> [&'static str; 13] {
    series::METRICS.map(|spec| spec.name)
}

fn task_type(text: &str) -> Result<TaskType, String> {
    let mut types = TaskType::ALL.into_iter();
    let found = types.find(|kind| kind.as_str() == text);
    found.ok_or_else(|| "expected workflow, activity or nexus".to_owned())
}

/// The window of a recording, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    from: i64,
    until: i64,
}

/// What is read besides the flags.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// The queue; `None` if the fleet has only one.
    pub(super) queue: Option<&'a str>,
    /// The length of the window; `None` for all until now.
    pub(super) length: Option<DurationString>,
    /// The seed of what was not recorded.
    pub(super) seed: u64,
    /// The present time, in milliseconds since 1970.
    pub(super) now: i64,
}

impl RecordingArguments {
    /// Reads the recording and rebuilds the trace.
    pub(super) async fn read(
        &self,
        url: &PrometheusUrl,
        request: Request<'_>,
        proxies: &ProxyVariables,
    ) -> anyhow::Result<Rebuilt> {
        let fleet = self.fleet.as_ref().context("--fleet is missing")?;
        let window = self.window(request)?;
        let prometheus = Prometheus::new(url, &self.access, proxies)?;
        let matchers = self.matchers(fleet, request.queue);
        let (series, warnings) = samples(&prometheus, &matchers, window).await?;
        if series.is_empty() {
            let known = self.fleets(&prometheus, window).await?;
            let queue = request
                .queue
                .map_or_else(String::new, |queue| format!(", queue {queue}"));
            bail!(
                "the Prometheus at {url} has no series of the fleet {fleet}{queue} in this time; \
                 {known}\nthe query was: {}",
                selector(&matchers)
            );
        }
        let chosen = series::choose(&series, self.task_type)
            .with_context(|| format!("the fleet {fleet} in the Prometheus at {url}"))?;
        let options = RebuildOptions {
            name: format!("{}-{}", fleet.name, chosen.queue),
            subject: format!(
                "the {} metrics of fleet {fleet}, queue {},",
                chosen.task_type, chosen.queue
            ),
            from: window.from,
            until: window.until,
            seed: request.seed,
            limit: taskqueue_simulation::MAX_TASKS,
        };
        let mut rebuilt = rebuild(&chosen.recording, &options)
            .with_context(|| format!("the fleet {fleet} in the Prometheus at {url}"))?;
        let warnings = warnings
            .into_iter()
            .map(|text| format!("Prometheus warns: {text}"));
        let notes = warnings.chain(chosen.notes).chain(rebuilt.notes).collect();
        rebuilt.notes = notes;
        Ok(rebuilt)
    }

    fn window(&self, request: Request<'_>) -> anyhow::Result<Window> {
        let since = self.since.map_or(SINCE, Duration::from);
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let from = request.now - millis(since);
        let length = request
            .length
            .map_or(i64::MAX, |length| millis(length.into()));
        let until = from.saturating_add(length).min(request.now);
        ensure!(
            (until - from).unsigned_abs() <= LONGEST,
            "the time is too long: {} days, and 31 are allowed; take a part of it with --since and \
             --for",
            (until - from) / 86_400_000
        );
        Ok(Window { from, until })
    }

    fn matchers(&self, fleet: &FleetName, queue: Option<&str>) -> Vec<Matcher> {
        let mut matchers = vec![
            Matcher::any("__name__", &metrics()),
            Matcher::equal("namespace", &fleet.namespace),
            Matcher::equal("name", &fleet.name),
        ];
        matchers.extend(queue.map(|queue| Matcher::equal("queue", queue)));
        matchers.extend(self.matchers.iter().cloned());
        matchers
    }

    /// The fleets that the Prometheus knows, as the end of a message.
    async fn fleets(&self, prometheus: &Prometheus, window: Window) -> anyhow::Result<String> {
        let mut matchers = vec![Matcher::equal("__name__", table::CURRENT.name)];
        matchers.extend(self.matchers.iter().cloned());
        let seconds = (window.until - window.from) / 1000;
        let query = format!(
            "group by (namespace, name, queue) (last_over_time({}[{seconds}s]))",
            selector(&matchers)
        );
        let answer = prometheus.query(&query, window.until, Kind::Vector).await?;
        let label = |series: &Labelled, name: &str| {
            let value = series.labels.get(name);
            value.cloned().unwrap_or_default()
        };
        let mut known: Vec<String> = answer
            .series
            .iter()
            .map(|series| {
                let [namespace, name, queue] =
                    ["namespace", "name", "queue"].map(|name| label(series, name));
                format!("{namespace}/{name} (queue {queue})")
            })
            .collect();
        known.sort();
        if known.is_empty() {
            return Ok(format!(
                "it has none of any fleet in this time: see whether it scrapes the operator, with \
                 honor_labels, and whether {} is there",
                table::CURRENT.name
            ));
        }
        let more = match known.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        known.truncate(LISTED);
        Ok(format!("it has those of {}{more}", known.join(", ")))
    }
}

/// The samples of a window, and the warnings about them. Reads piece by piece.
async fn samples(
    prometheus: &Prometheus,
    matchers: &[Matcher],
    window: Window,
) -> anyhow::Result<(Vec<Labelled>, Vec<String>)> {
    let (mut series, mut warnings) = (Vec::new(), Vec::new());
    let mut from = window.from;
    while from < window.until {
        let until = from.saturating_add(PIECE).min(window.until);
        let query = format!("{}[{}ms]", selector(matchers), until - from);
        let answer = prometheus.query(&query, until, Kind::Matrix).await?;
        for mut one in answer.series {
            // Whether the range includes its beginning depends on the version.
            one.samples
                .retain(|sample| (from + 1..=until).contains(&sample.at));
            series.push(one);
        }
        warnings.extend(answer.warnings);
        from = until;
    }
    series.retain(|one: &Labelled| !one.samples.is_empty());
    warnings.sort();
    warnings.dedup();
    Ok((series::join(series), warnings))
}
