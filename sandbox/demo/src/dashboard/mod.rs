//! The Grafana dashboard of the chart without Grafana: its panels and queries, and a picture of
//! them from what a sandbox's Prometheus has. [`panels`] and [`svg`] are pure; [`draw`] asks and
//! writes one file.

pub mod panels;
pub mod svg;

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;

use crate::dashboard::{
    panels::{DASHBOARD, Dashboard, Kind, variables},
    svg::page::Drawn,
};
use sandbox_machine::{Error, Result, Sandbox, clients::prometheus::Prometheus, files};

/// Points of a line in the picture, at most.
const POINTS: i64 = 90;
/// The scrape interval of the sandbox's Prometheus, in seconds.
const SCRAPE: i64 = 2;

/// Over how long rates are taken in the picture. Grafana takes four scrape intervals; the
/// operator's events are rarer than the sandbox's scrapes.
pub const RATE_INTERVAL: &str = "30s";

/// Draws the last minutes of the fleets that match.
///
/// # Errors
/// If Prometheus refuses a query or the file cannot be written.
pub fn draw_last(
    sandbox: &Sandbox,
    namespace: &str,
    fleet: &str,
    minutes: u32,
    file: &Path,
) -> Result<()> {
    let now = Timestamp::now();
    let from = now.as_second() - i64::from(minutes) * 60;
    let caption = format!(
        "The last {minutes} minutes before {}",
        now.strftime("%Y-%m-%d %H:%M UTC")
    );
    draw(
        sandbox,
        &variables(namespace, fleet, ".*", RATE_INTERVAL),
        (from, now.as_second()),
        &caption,
        file,
    )
}

/// Draws the dashboard of one fleet from `from` to `to` (seconds since 1970) into an SVG file.
///
/// # Errors
/// If Prometheus refuses a query or the file cannot be written.
pub fn draw(
    sandbox: &Sandbox,
    variables: &BTreeMap<&str, &str>,
    (from, to): (i64, i64),
    caption: &str,
    file: &Path,
) -> Result<()> {
    let step = ((to - from) / POINTS).max(SCRAPE);
    let interval = format!("{step}s");
    let mut variables = variables.clone();
    variables.insert("__interval", &interval);
    let dashboard = Dashboard::parse(DASHBOARD, &variables)
        .map_err(|why| Error::source("the chart's dashboard", why))?;
    let prometheus = Prometheus::of(sandbox)?;
    let mut drawn = Vec::new();
    for panel in &dashboard.panels {
        let mut answers = Vec::new();
        for query in &panel.queries {
            let answer = match panel.kind {
                Kind::Table => prometheus.instant(&query.expression, to)?,
                _ => prometheus.range(&query.expression, from, to, step)?,
            };
            answers.push((query, answer));
        }
        drawn.push(Drawn { panel, answers });
    }
    let picture = svg::svg(&dashboard.title, caption, &drawn, (from, to), step);
    files::write_file(file, picture.as_bytes())?;
    Ok(())
}
