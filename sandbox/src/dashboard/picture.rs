//! The dashboard as an SVG picture: the same panels in the same places, drawn from series. Pure.
//!
//! A queue has one colour in all panels; what the dashboard dashes is dashed here too.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Kind, Panel, Query, prometheus::Series};

/// Pixels of one column and one line of Grafana's grid.
const CELL: (f64, f64) = (50.0, 27.0);
/// Pixels above the first panel.
const HEAD: f64 = 46.0;
/// Colours that differ for colour-blind people too.
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#666666",
];
/// Entries of a legend.
const LEGEND: usize = 9;
/// Pixels of one character of a legend, about.
const CHARACTER: f64 = 5.1;
/// Pixels between two lines of small text.
const LINE: f64 = 12.0;

/// A panel with what was answered to its queries.
pub struct Drawn<'a> {
    /// The panel.
    pub panel: &'a Panel,
    /// Its queries and their series.
    pub answers: Vec<(&'a Query, Vec<Series>)>,
}

/// One line of a panel.
struct Line<'a> {
    name: String,
    colour: &'static str,
    dashed: bool,
    samples: &'a [(f64, f64)],
    most: f64,
}

/// A rectangle of the picture.
#[derive(Clone, Copy)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// The picture. Times are seconds since 1970; samples further apart than two and a half steps are not joined.
pub fn svg(
    title: &str,
    caption: &str,
    panels: &[Drawn<'_>],
    (from, to): (i64, i64),
    step: i64,
) -> String {
    let bottom = panels
        .iter()
        .map(|drawn| drawn.panel.place[1] + drawn.panel.place[3])
        .max()
        .unwrap_or(0);
    let (width, height) = (24.0 * CELL.0, HEAD + float(bottom) * CELL.1 + 6.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"10\" fill=\"#333\">\n\
         <style>.p{{fill:#fff;stroke:#ddd}}.t{{font-size:11px;font-weight:bold}}.g{{stroke:#e8e8e8}}.l{{fill:none;stroke-width:1.3}}.d{{stroke-dasharray:4 3;stroke-width:1}}.a{{fill:#777;font-size:9px}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#f4f5f5\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"16\" font-weight=\"bold\">{}</text>\n<text x=\"8\" y=\"37\">{}</text>\n",
        escape(title),
        escape(caption)
    );
    let colours = colours(panels);
    let time = Time {
        from: signed(from),
        to: signed(to),
        step: signed(step),
    };
    for drawn in panels {
        let [x, y, w, h] = drawn.panel.place.map(float);
        let area = Area {
            x: x * CELL.0 + 3.0,
            y: HEAD + y * CELL.1 + 3.0,
            width: w * CELL.0 - 6.0,
            height: h * CELL.1 - 6.0,
        };
        panel(&mut out, drawn, area, &colours, time);
    }
    out.push_str("</svg>\n");
    out
}

/// The span of the picture.
#[derive(Clone, Copy)]
struct Time {
    from: f64,
    to: f64,
    step: f64,
}

/// A colour for each queue, the same in all panels.
fn colours(panels: &[Drawn<'_>]) -> BTreeMap<String, &'static str> {
    let mut queues: Vec<&String> = panels
        .iter()
        .flat_map(|drawn| &drawn.answers)
        .flat_map(|(_, series)| series)
        .filter_map(|series| series.labels.get("queue"))
        .collect();
    queues.sort();
    queues.dedup();
    let colours = COLOURS.iter().cycle();
    queues.into_iter().cloned().zip(colours.copied()).collect()
}

fn panel(
    out: &mut String,
    drawn: &Drawn<'_>,
    area: Area,
    colours: &BTreeMap<String, &'static str>,
    time: Time,
) {
    let Area {
        x,
        y,
        width,
        height,
    } = area;
    let title = escape(&drawn.panel.title);
    if drawn.panel.kind == Kind::Row {
        put(
            out,
            format_args!(
                "<text x=\"{x}\" y=\"{}\" font-size=\"13\" font-weight=\"bold\">{title}</text>\n",
                y + 16.0
            ),
        );
        return;
    }
    put(
        out,
        format_args!(
            "<rect class=\"p\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"3\"/><text class=\"t\" x=\"{}\" y=\"{}\">{title}</text>\n",
            x + 8.0,
            y + 15.0
        ),
    );
    match drawn.panel.kind {
        Kind::Row => {}
        Kind::Stat => stat(out, drawn, area),
        Kind::Table => table(out, drawn, area),
        Kind::Lines | Kind::Bars => chart(out, drawn, area, colours, time),
    }
}

/// The last value.
fn stat(out: &mut String, drawn: &Drawn<'_>, area: Area) {
    let series = drawn.answers.iter().flat_map(|(_, series)| series);
    let last = series
        .filter_map(|series| series.samples.last())
        .next_back();
    let text = last.map_or_else(
        || "no data".to_owned(),
        |(_, value)| number(*value, &drawn.panel.unit),
    );
    put(
        out,
        format_args!(
            "<text x=\"{}\" y=\"{}\" font-size=\"26\" text-anchor=\"middle\">{text}</text>\n",
            area.x + area.width / 2.0,
            area.y + area.height * 0.7
        ),
    );
}

/// One line per series: its labels and its value.
fn table(out: &mut String, drawn: &Drawn<'_>, area: Area) {
    let all: Vec<&Series> = drawn
        .answers
        .iter()
        .flat_map(|(_, series)| series)
        .collect();
    let mut rows: Vec<String> = all
        .iter()
        .map(|series| {
            let labels = series.labels.iter().filter(|(name, _)| *name != "__name__");
            let labels: Vec<String> = labels
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let value = series.samples.last().map_or(0.0, |(_, value)| *value);
            format!(
                "{}: {}",
                labels.join("  "),
                number(value, &drawn.panel.unit)
            )
        })
        .collect();
    if rows.is_empty() {
        rows.push("no data".to_owned());
    }
    let room = whole((area.height - 22.0) / LINE);
    let left = rows.len().saturating_sub(room);
    if left > 0 {
        rows.truncate(room.saturating_sub(1));
        rows.push(format!("and {} more", left + 1));
    }
    let fits = whole(area.width / CHARACTER);
    for (index, row) in rows.iter().enumerate() {
        let row: String = row.chars().take(fits).collect();
        put(
            out,
            format_args!(
                "<text class=\"a\" x=\"{}\" y=\"{}\">{}</text>\n",
                area.x + 8.0,
                area.y + 30.0 + float(index as u64) * LINE,
                escape(&row)
            ),
        );
    }
}

/// Axes, lines or bars, and the legend.
fn chart(
    out: &mut String,
    drawn: &Drawn<'_>,
    area: Area,
    colours: &BTreeMap<String, &'static str>,
    time: Time,
) {
    let lines = lines(drawn, colours);
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
    let along = |at: f64| plot.x + plot.width * ((at - time.from) / (time.to - time.from).max(1.0));
    axes(out, plot, time, (tick, top), &drawn.panel.unit);
    for line in &lines {
        let path = if drawn.panel.kind == Kind::Bars {
            bars(line.samples, &mut piles, along, up)
        } else {
            joined(line.samples, time.step * 2.5, along, up)
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
    for (index, row) in legend.iter().enumerate() {
        let y = plot.y + plot.height + 28.0 + float(index as u64) * LINE;
        for (offset, name, colour) in row {
            put(
                out,
                format_args!(
                    "<text class=\"a\" x=\"{}\" y=\"{y}\"><tspan fill=\"{colour}\">&#9632;</tspan> {}</text>",
                    round(area.x + 8.0 + offset),
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

/// `{{label}}` filled in, as Grafana does.
fn named(legend: &str, series: &Series) -> String {
    let name = series
        .labels
        .iter()
        .fold(legend.to_owned(), |text, (label, value)| {
            text.replace(&format!("{{{{{label}}}}}"), value)
        });
    name.trim().to_owned()
}

/// Lines of (offset, name, colour) that fit into the width.
fn legend(lines: &[Line<'_>], width: f64) -> Vec<Vec<(f64, String, &'static str)>> {
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
    let mut rows: Vec<Vec<(f64, String, &'static str)>> = Vec::new();
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

fn axes(out: &mut String, plot: Area, time: Time, (tick, top): (f64, f64), unit: &str) {
    let mut value = 0.0;
    while value <= top * 1.001 {
        let y = round(plot.y + plot.height * (1.0 - value / top));
        put(
            out,
            format_args!(
                "<path class=\"g\" d=\"M{} {y}h{}\"/><text class=\"a\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
                plot.x,
                plot.width,
                plot.x - 4.0,
                y + 3.0,
                number(value, unit)
            ),
        );
        value += tick;
    }
    let seconds = time.to - time.from;
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

fn number(value: f64, unit: &str) -> String {
    match unit {
        "s" if value > 0.0 && value < 1.0 => format!("{} ms", short(value * 1000.0)),
        "s" => format!("{} s", short(value)),
        "ops" => format!("{}/s", short(value)),
        _ => short(value),
    }
}

/// At most three digits behind the point, and none that say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// To a tenth of a pixel: the file stays small.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of a picture"
)]
fn whole(value: f64) -> usize {
    value.max(0.0) as usize
}

#[expect(clippy::cast_precision_loss, reason = "small numbers of a picture")]
fn float(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
fn second(value: f64) -> i64 {
    value.round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
fn signed(value: i64) -> f64 {
    value as f64
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Writing to a String does not fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(queue: &str, values: &[f64]) -> Series {
        let times = (0..).map(|index: u32| 1000.0 + f64::from(index) * 10.0);
        Series {
            labels: BTreeMap::from([("queue".to_owned(), queue.to_owned())]),
            samples: times.zip(values.iter().copied()).collect(),
        }
    }

    fn panel(kind: Kind, title: &str) -> Panel {
        Panel {
            title: title.to_owned(),
            kind,
            place: [0, 0, 12, 8],
            unit: "short".to_owned(),
            queries: Vec::new(),
        }
    }

    #[test]
    fn every_kind_of_panel_is_drawn_with_its_data_and_says_when_it_has_none() {
        let query = Query {
            expression: "x".to_owned(),
            legend: "ready {{queue}}".to_owned(),
            dashed: false,
        };
        let kinds = [Kind::Row, Kind::Stat, Kind::Lines, Kind::Bars, Kind::Table];
        let panels = kinds.map(|kind| panel(kind, &format!("a < {kind:?}")));
        let data = vec![
            series("payments", &[0.0, 3.0, 1.5]),
            series("mails", &[0.0; 3]),
        ];
        let drawn = |answer: &[Series]| -> String {
            let drawn: Vec<Drawn<'_>> = panels
                .iter()
                .map(|panel| Drawn {
                    panel,
                    answers: vec![(&query, answer.to_vec())],
                })
                .collect();
            svg("Fleets", "a run", &drawn, (1000, 1020), 10)
        };
        let full = drawn(&data);
        for shown in [
            "a &lt; Row",
            "a &lt; Stat",
            "ready payments",
            "ready mails",
            "queue=payments: 1.5",
            ">0:20<",
        ] {
            assert!(full.contains(shown), "{shown}:\n{full}");
        }
        assert_eq!(full.matches("no data").count(), 0, "{full}");
        assert_eq!(
            drawn(&[]).matches("no data").count(),
            2,
            "the number and the table"
        );
        assert!(full.ends_with("</svg>\n"));
    }

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
    fn lines_break_where_samples_are_missing_and_leave_out_what_is_level() {
        let path = |samples: &[(f64, f64)]| joined(samples, 25.0, |at| at, |value| value);
        let level = [(0.0, 1.0), (10.0, 1.0), (20.0, 1.0), (30.0, 2.0)];
        assert_eq!(path(&level), "M0 1L20 1L30 2");
        let broken = [(0.0, 1.0), (10.0, 2.0), (100.0, 3.0), (110.0, 4.0)];
        assert_eq!(path(&broken), "M0 1L10 2M100 3L110 4");
    }

    #[test]
    fn bars_of_one_time_stand_on_each_other() {
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
        assert_eq!(
            [
                number(0.0, "s"),
                number(0.25, "s"),
                number(90.0, "s"),
                number(1.5, "ops"),
                number(7.0, "short")
            ],
            ["0 s", "250 ms", "90 s", "1.5/s", "7"]
        );
    }
}
