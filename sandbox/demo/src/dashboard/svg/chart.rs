//! Draws the axes, the lines or bars, and the legend of a panel over time. Pure.

use std::collections::BTreeMap;

use crate::dashboard::{
    panels::Kind,
    svg::{
        page::{COLOURS, Drawn, Page},
        primitives::{Area, CHARACTER, LINE, escape, float, number, put, round, second, whole},
    },
};
use sandbox_machine::clients::prometheus::Series;

/// Entries of a legend.
const LEGEND: usize = 9;

/// One line of a panel.
struct Line<'a> {
    name: String,
    colour: &'static str,
    dashed: bool,
    samples: &'a [(f64, f64)],
    most: f64,
}

/// Axes, lines or bars, and the legend.
pub(super) fn draw(out: &mut String, drawn: &Drawn<'_>, area: Area, page: &Page) {
    let lines = lines(drawn, &page.colours);
    let legend = legend(&lines, area.width - 16.0);
    let below = float(legend.len() as u64) * LINE + 18.0;
    let plot = Area {
        x: area.x + 44.0,
        y: area.y + 24.0,
        width: area.width - 54.0,
        height: (area.height - 24.0 - below).max(20.0),
    };
    let most = match drawn.panel.kind {
        Kind::Bars => highest(&lines),
        _ => lines.iter().map(|line| line.most).fold(0.0, f64::max),
    };
    let mut piles = BTreeMap::new();
    let tick = tick(most);
    let top = (most / tick).ceil().max(1.0) * tick;
    let up = |value: f64| plot.y + plot.height * (1.0 - value / top);
    let along = |at: f64| plot.x + plot.width * ((at - page.from) / (page.to - page.from).max(1.0));
    axes(
        out,
        plot,
        page.to - page.from,
        (tick, top),
        &drawn.panel.unit,
    );
    for line in &lines {
        let path = if drawn.panel.kind == Kind::Bars {
            bars(line.samples, &mut piles, along, up)
        } else {
            joined(line.samples, page.step * 2.5, along, up)
        };
        let class = if line.dashed { "l d" } else { "l" };
        put(
            out,
            format_args!(
                "<path class=\"{class}\" stroke=\"{}\" d=\"{path}\"/>\n",
                line.colour
            ),
        );
    }
    entries(out, &legend, (area.x + 8.0, plot.y + plot.height + 28.0));
}

/// The legend, from its first line downwards.
fn entries(out: &mut String, legend: &[Row], (left, top): (f64, f64)) {
    for (index, row) in legend.iter().enumerate() {
        let y = top + float(index as u64) * LINE;
        for (offset, name, colour) in row {
            put(
                out,
                format_args!(
                    "<text class=\"a\" x=\"{}\" y=\"{y}\"><tspan \
                     fill=\"{colour}\">&#9632;</tspan> {}</text>",
                    round(left + offset),
                    escape(name)
                ),
            );
        }
        out.push('\n');
    }
}

/// The lines of a panel with their names, the largest first.
fn lines<'a>(drawn: &'a Drawn<'_>, colours: &BTreeMap<String, &'static str>) -> Vec<Line<'a>> {
    let mut free = COLOURS.iter().copied().cycle();
    let mut lines = Vec::new();
    for (query, series) in &drawn.answers {
        for series in series {
            let of_queue = series
                .labels
                .get("queue")
                .and_then(|queue| colours.get(queue));
            lines.push(Line {
                name: named(&query.legend, series),
                colour: of_queue.copied().or_else(|| free.next()).unwrap_or("#333"),
                dashed: query.dashed,
                samples: &series.samples,
                most: series
                    .samples
                    .iter()
                    .map(|(_, value)| *value)
                    .fold(0.0, f64::max),
            });
        }
    }
    lines.sort_by(|a, b| a.dashed.cmp(&b.dashed).then(b.most.total_cmp(&a.most)));
    lines
}

/// `{{label}}` filled in, as Grafana does: with nothing if the series has no such label.
fn named(legend: &str, series: &Series) -> String {
    let mut parts = legend.split("{{");
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (label, rest) = part.split_once("}}").unwrap_or((part, ""));
        name.push_str(series.labels.get(label).map_or("", String::as_str));
        name.push_str(rest);
    }
    name.trim().to_owned()
}

/// One line of a legend: (offset, name, colour) of each entry.
type Row = Vec<(f64, String, &'static str)>;

/// The lines of a legend, each of which fits into the width.
fn legend(lines: &[Line<'_>], width: f64) -> Vec<Row> {
    let mut entries: Vec<(String, &'static str)> = lines
        .iter()
        .take(LEGEND)
        .map(|line| {
            let dashed = if line.dashed { " (dashed)" } else { "" };
            (format!("{}{dashed}", line.name), line.colour)
        })
        .collect();
    if lines.len() > LEGEND {
        entries.push((format!("and {} more", lines.len() - LEGEND), "#999"));
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut end = f64::INFINITY;
    for (name, colour) in entries {
        let wide = float(name.chars().count() as u64 + 4) * CHARACTER;
        if end + wide > width {
            rows.push(Vec::new());
            end = 0.0;
        }
        if let Some(row) = rows.last_mut() {
            row.push((end, name, colour));
        }
        end += wide;
    }
    rows
}

/// The grid and its values; `seconds` is how long the time axis is.
fn axes(out: &mut String, plot: Area, seconds: f64, (tick, top): (f64, f64), unit: &str) {
    let mut value = 0.0;
    while value <= top * 1.001 {
        let y = round(plot.y + plot.height * (1.0 - value / top));
        put(
            out,
            format_args!(
                "<path class=\"g\" d=\"M{} {y}h{}\"/><text class=\"a\" x=\"{}\" y=\"{}\" \
                 text-anchor=\"end\">{}</text>\n",
                plot.x,
                plot.width,
                plot.x - 4.0,
                y + 3.0,
                number(value, unit)
            ),
        );
        value += tick;
    }
    for part in 0..=4_u64 {
        let at = seconds * float(part) / 4.0;
        let anchor = if part == 4 { "end" } else { "middle" };
        put(
            out,
            format_args!(
                "<text class=\"a\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}:{:02}</text>",
                round(plot.x + plot.width * float(part) / 4.0),
                round(plot.y + plot.height + 12.0),
                whole(at / 60.0),
                whole(at % 60.0)
            ),
        );
    }
    out.push('\n');
}

/// A path through the samples, without the points between equal ones.
fn joined(
    samples: &[(f64, f64)],
    gap: f64,
    along: impl Fn(f64) -> f64,
    up: impl Fn(f64) -> f64,
) -> String {
    let mut path = String::new();
    for (index, (at, value)) in samples.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| samples.get(before));
        let after = samples.get(index + 1);
        let far =
            |other: Option<&(f64, f64)>| other.is_none_or(|(time, _)| (time - at).abs() > gap);
        let level = |other: Option<&(f64, f64)>| {
            other.is_some_and(|(_, other)| (other - value).abs() < f64::EPSILON)
        };
        if !far(before) && !far(after) && level(before) && level(after) {
            continue;
        }
        let command = if far(before) { 'M' } else { 'L' };
        let (x, y) = (round(along(*at)), round(up(*value)));
        put(&mut path, format_args!("{command}{x} {y}"));
    }
    path
}

/// A bar for every sample above zero, on top of those of the lines before it.
fn bars(
    samples: &[(f64, f64)],
    piles: &mut BTreeMap<i64, f64>,
    along: impl Fn(f64) -> f64,
    up: impl Fn(f64) -> f64,
) -> String {
    let mut path = String::new();
    for (at, value) in samples.iter().filter(|(_, value)| *value > 0.0) {
        let pile = piles.entry(second(*at)).or_insert(0.0);
        let (x, below, above) = (
            round(along(*at)),
            round(up(*pile)),
            round(up(*pile + value)),
        );
        put(&mut path, format_args!("M{x} {below}V{above}"));
        *pile += value;
    }
    path
}

/// The highest pile of bars.
fn highest(lines: &[Line<'_>]) -> f64 {
    let mut piles: BTreeMap<i64, f64> = BTreeMap::new();
    for (at, value) in lines.iter().flat_map(|line| line.samples) {
        *piles.entry(second(*at)).or_insert(0.0) += value.max(0.0);
    }
    piles.into_values().fold(0.0, f64::max)
}

/// A round distance of grid lines, of which there are two to five.
fn tick(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let rough = most / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let fitting = steps.into_iter().find(|step| step * power >= rough * 0.999);
    fitting.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::super::primitives::short;
    use super::super::tests::{panel, series};
    use super::*;
    use crate::dashboard::{panels::Query, svg::page::colours};

    #[test]
    fn a_queue_has_one_colour_in_all_panels() {
        let query = Query {
            expression: "x".to_owned(),
            legend: "{{queue}}".to_owned(),
            dashed: true,
        };
        let lines_panel = panel(Kind::Lines, "one");
        let answers = |names: [&str; 2]| Drawn {
            panel: &lines_panel,
            answers: vec![(&query, names.map(|name| series(name, &[1.0, 2.0])).to_vec())],
        };
        let panels = [answers(["a", "b"]), answers(["b", "c"])];
        let colours = colours(&panels);
        let of = |drawn: &Drawn<'_>, name: &str| {
            let found = lines(drawn, &colours)
                .into_iter()
                .find(|line| line.name == name);
            found.map(|line| line.colour)
        };
        assert_eq!(of(&panels[0], "b"), of(&panels[1], "b"));
        assert_ne!(of(&panels[1], "b"), of(&panels[1], "c"));
    }

    #[test]
    fn a_label_that_a_series_lacks_leaves_no_trace_in_its_name() {
        let series = series("payments", &[1.0]);
        assert_eq!(
            ["max {{queue}} {{cluster}}", "{{cluster}}", "waiting"]
                .map(|legend| named(legend, &series)),
            ["max payments", "", "waiting"]
        );
    }

    #[test]
    fn lines_break_where_samples_are_missing_and_skip_level_points() {
        let path = |samples: &[(f64, f64)]| joined(samples, 25.0, |at| at, |value| value);
        let level = [(0.0, 1.0), (10.0, 1.0), (20.0, 1.0), (30.0, 2.0)];
        assert_eq!(path(&level), "M0 1L20 1L30 2");
        let broken = [(0.0, 1.0), (10.0, 2.0), (100.0, 3.0), (110.0, 4.0)];
        assert_eq!(path(&broken), "M0 1L10 2M100 3L110 4");
    }

    #[test]
    fn bars_of_the_same_time_are_stacked() {
        let mut piles = BTreeMap::new();
        let mut path = |value| bars(&[(10.0, value)], &mut piles, |at| at, |value| value);
        assert_eq!(
            [path(2.0), path(0.0), path(3.0)],
            ["M10 0V2", "", "M10 2V5"]
        );
    }

    #[test]
    fn grid_lines_are_round_numbers() {
        assert_eq!(
            [0.0, 3.0, 4.0, 5.0, 74.0, 0.013].map(|most| short(tick(most))),
            ["1", "1", "1", "2", "20", "0.005"]
        );
    }
}
