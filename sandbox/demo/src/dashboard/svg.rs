//! Draws the dashboard as SVG: the same panels in the same places, from series. Pure.
//!
//! This file draws the page, the frames of the panels, single numbers and tables; `chart` draws
//! everything with a time axis; `primitives` is shared by both. A queue has one colour in all
//! panels. Lines that the dashboard dashes are dashed here too.
//!
//! Why not a crate: plotters 0.3 draws the charts, but each point at a whole pixel, and Grafana's
//! grid, legends, single numbers and tables would still be drawn here.

mod chart;
pub mod page;
mod primitives;

use crate::dashboard::{
    panels::Kind,
    svg::page::{Drawn, Page, colours},
};
use primitives::{Area, CHARACTER, LINE, escape, float, number, put, signed, whole};
use sandbox_machine::clients::prometheus::Series;

/// Pixels of one column and one line of Grafana's grid.
const CELL: (f64, f64) = (50.0, 27.0);
/// Pixels above the first panel.
const HEAD: f64 = 46.0;

/// The picture. Times are seconds since 1970; samples further apart than two and a half steps are
/// not joined.
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
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"10\" fill=\"#333\">\n\
         <style>.p{{fill:#fff;stroke:#ddd}}.t{{font-size:11px;font-weight:bold}}.g{{stroke:#e8e8e8}}.l{{fill:none;stroke-width:1.3}}.d{{stroke-dasharray:4 3;stroke-width:1}}.a{{fill:#777;font-size:9px}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#f4f5f5\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"16\" font-weight=\"bold\">{}</text>\n<text x=\"8\" \
         y=\"37\">{}</text>\n",
        escape(title),
        escape(caption)
    );
    let page = Page {
        colours: colours(panels),
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
        panel(&mut out, drawn, area, &page);
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, drawn: &Drawn<'_>, area: Area, page: &Page) {
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
            "<rect class=\"p\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" \
             rx=\"3\"/><text class=\"t\" x=\"{}\" y=\"{}\">{title}</text>\n",
            x + 8.0,
            y + 15.0
        ),
    );
    match drawn.panel.kind {
        Kind::Row => {}
        Kind::Stat => stat(out, drawn, area),
        Kind::Table => table(out, drawn, area),
        Kind::Lines | Kind::Bars => chart::draw(out, drawn, area, page),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dashboard::panels::{Panel, Query};

    pub(super) fn series(queue: &str, values: &[f64]) -> Series {
        let times = (0..).map(|index: u32| 1000.0 + f64::from(index) * 10.0);
        Series {
            labels: BTreeMap::from([("queue".to_owned(), queue.to_owned())]),
            samples: times.zip(values.iter().copied()).collect(),
        }
    }

    pub(super) fn panel(kind: Kind, title: &str) -> Panel {
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
}
