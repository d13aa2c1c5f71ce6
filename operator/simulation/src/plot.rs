//! Draws a timeline as an SVG picture: backlog, requested and ready replicas, and the age of the
//! head. Returns text; the caller writes the file.
//!
//! Why not a crate: plotters 0.3 draws such lines, but each point at a whole pixel, and would add
//! itself and its backends to the operator's image for what a few polylines do here.

use crate::engine::{Outcome, Point};

const WIDTH: f64 = 960.0;
const PANEL: f64 = 150.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const GAP: f64 = 34.0;

/// One panel: its title, and its lines with their colours.
type Panel<'a> = (&'a str, Vec<(&'a str, &'a str, Box<dyn Fn(&Point) -> f64>)>);

/// Draws one run. The picture loads no external font or script.
pub fn svg(title: &str, outcome: &Outcome) -> String {
    let points = &outcome.timeline;
    let panels: [Panel<'_>; 3] = [
        (
            "tasks",
            vec![
                ("waiting", "#c0392b", Box::new(|point| point.backlog as f64)),
                (
                    "in work",
                    "#2471a3",
                    Box::new(|point| point.in_flight as f64),
                ),
            ],
        ),
        (
            "replicas",
            vec![
                (
                    "requested",
                    "#7d3c98",
                    Box::new(|point| f64::from(point.requested)),
                ),
                ("ready", "#1e8449", Box::new(|point| f64::from(point.ready))),
            ],
        ),
        (
            "age of the oldest task, s",
            vec![(
                "age",
                "#b9770e",
                Box::new(|point| point.age as f64 / 1000.0),
            )],
        ),
    ];
    let height = TOP + 3.0 * (PANEL + GAP) + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>\n",
        escape(&format!("{title}: {}", outcome.summary.policy.trim()))
    );
    for (index, panel) in panels.iter().enumerate() {
        draw(&mut text, TOP + index as f64 * (PANEL + GAP), panel, points);
    }
    text.push_str("</svg>\n");
    text
}

fn draw(text: &mut String, top: f64, (title, lines): &Panel<'_>, points: &[Point]) {
    let until = points.last().map_or(1.0, |point| point.at as f64).max(1.0);
    let values = lines
        .iter()
        .flat_map(|(.., value)| points.iter().map(value));
    let highest = values.fold(1.0, f64::max);
    let x = |point: &Point| LEFT + (WIDTH - LEFT - 20.0) * point.at as f64 / until;
    let y = |value: f64| top + PANEL * (1.0 - value / highest);
    let (bottom, right) = (top + PANEL, WIDTH - 20.0);
    text.extend([format!(
        "<path d=\"M{LEFT} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>\n\
         <text x=\"8\" y=\"{:.0}\">{highest:.0}</text>\n\
         <text x=\"8\" y=\"{bottom:.0}\">0</text>\n\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{:.0} min</text>\n\
         <text x=\"{LEFT}\" y=\"{:.0}\">{}</text>\n",
        top + 10.0,
        right,
        bottom + 15.0,
        until / 60_000.0,
        bottom + 15.0,
        escape(title)
    )]);
    for (index, (name, colour, value)) in lines.iter().enumerate() {
        let mut path = String::new();
        for point in points {
            path.extend([format!("{:.1},{:.1} ", x(point), y(value(point)))]);
        }
        text.extend([format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\" points=\"{}\"/>\n\
             <text x=\"{:.0}\" y=\"{:.0}\" fill=\"{colour}\">{}</text>\n",
            path.trim_end(),
            right - 140.0 + 75.0 * index as f64,
            top + 10.0,
            escape(name)
        )]);
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
