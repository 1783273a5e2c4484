//! Line charts as inline SVG.
//!
//! A chart is as wide as its place and of a fixed height, so text and strokes keep their size on a
//! phone and on a wall: the plot area is the whole `<svg>` and the labels stand outside of it
//! (`overflow: visible`, with margins from the style sheet); curves live in a nested `<svg>`
//! that is stretched, and their strokes are not. Heights are therefore pixels, and widths thousandths.

mod scale;

pub use scale::{Axis, Scale};

use super::format::{escape, put};

/// One curve.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend and in the read-out.
    pub name: String,
    /// Classes of the style sheet: a colour, and perhaps `dash`, `dots` or `thin`.
    pub class: String,
    /// Ascending in x. Where there is no value the curve has a gap.
    pub points: Vec<(f64, Option<f64>)>,
    /// Whether the area below is tinted.
    pub area: bool,
    /// What the legend adds to the name, such as a total.
    pub note: String,
    /// What stands at its right end; empty for nothing.
    pub end: String,
}

/// A chart with a legend and, for a pointer, a read-out.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Unique in the page; a name for links and labels.
    pub id: String,
    /// The heading.
    pub title: String,
    /// A sentence that says what is drawn, for those who see it and those who hear it.
    pub about: String,
    /// Of the plot area, in pixels.
    pub height: f64,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The curves in the order of the legend, the last drawn on top.
    pub lines: Vec<Line>,
    /// A range of x to shade, and the word for it.
    pub shade: Option<(f64, f64, &'static str)>,
    /// Where a pointer can read values: x, and its name.
    pub reads: Vec<(f64, String)>,
    /// How the read-out writes a value.
    pub value: fn(f64) -> String,
}

impl Chart {
    /// The chart as a `<figure>`.
    pub fn html(&self) -> String {
        let id = escape(&self.id);
        let body = if self.is_empty() {
            "<p class=\"note\">Nothing to draw.</p>".to_owned()
        } else {
            let read = self.read_out();
            format!(
                "<div class=\"plot{wide}\" data-read='{read}'>{svg}<div class=\"over\"></div></div>",
                wide =
                    if self.lines.iter().any(|line| !line.end.is_empty()) { " ends" } else { "" },
                svg = self.svg(),
            )
        };
        format!(
            "<figure class=\"card chart\" id=\"{id}\"><figcaption><h3>{title}</h3><p>{about}</p>\
             </figcaption>{legend}{body}</figure>\n",
            title = escape(&self.title),
            about = escape(&self.about),
            legend = if self.is_empty() { String::new() } else { self.legend() },
        )
    }

    fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.points.iter().all(|(_, y)| y.is_none()))
    }

    fn legend(&self) -> String {
        let mut items = String::new();
        for line in &self.lines {
            put!(
                items,
                "<li><svg class=\"key\" aria-hidden=\"true\" width=\"22\" height=\"10\">\
                 <line class=\"{}\" x1=\"1\" y1=\"5\" x2=\"21\" y2=\"5\"/></svg>{}{}</li>",
                line.class,
                escape(&line.name),
                if line.note.is_empty() {
                    String::new()
                } else {
                    format!(" <b>{}</b>", escape(&line.note))
                },
            );
        }
        format!("<ul class=\"legend\">{items}</ul>")
    }

    fn svg(&self) -> String {
        let id = escape(&self.id);
        let height = self.height;
        let drawn: String = self.lines.iter().map(|line| self.curve(line)).collect();
        let dots: String = self.lines.iter().map(|line| self.dots(line)).collect();
        format!(
            "<svg class=\"axes\" role=\"img\" width=\"100%\" height=\"{height}\" \
             aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{title}</title>\
             <desc id=\"{id}-d\">{about} {values}</desc>{shade}{grid}\
             <svg width=\"100%\" height=\"{height}\" viewBox=\"0 0 1000 {height}\" \
             preserveAspectRatio=\"none\">{drawn}</svg>{dots}{ends}</svg>",
            title = escape(&self.title),
            about = escape(&self.about),
            values = escape(&self.in_words()),
            shade = self.shading(),
            grid = self.grid(),
            ends = self.ends(),
        )
    }

    /// The least and the greatest of each curve, for those who cannot see it.
    fn in_words(&self) -> String {
        let mut words = Vec::new();
        for line in &self.lines {
            let values = || line.points.iter().filter_map(|(_, y)| *y);
            let least = values().fold(f64::INFINITY, f64::min);
            let most = values().fold(f64::NEG_INFINITY, f64::max);
            if least <= most {
                let (least, most) = ((self.value)(least), (self.value)(most));
                words.push(format!("{}: {least} to {most}.", line.name));
            }
        }
        words.join(" ")
    }

    fn shading(&self) -> String {
        let Some((from, to, word)) = self.shade else { return String::new() };
        let (from, to) = (self.percent(from), self.percent(to));
        format!(
            "<rect class=\"shade\" x=\"{from:.2}%\" y=\"0\" width=\"{:.2}%\" height=\"{}\"/>\
             <text class=\"shade-word\" x=\"{from:.2}%\" dx=\"6\" y=\"14\">{word}</text>",
            to - from,
            self.height,
        )
    }

    fn grid(&self) -> String {
        let mut out = String::new();
        for (value, label) in &self.y.marks {
            let y = self.y_of(*value);
            put!(
                out,
                "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick y\" x=\"-8\" y=\"{y:.1}\" dy=\"0.35em\">{}</text>",
                escape(label),
            );
        }
        let bottom = self.height;
        for (i, (value, label)) in self.x.marks.iter().enumerate() {
            let x = self.percent(*value);
            // Where there is little room, the style sheet hides every other of many labels.
            let other = if self.x.marks.len() > 5 && i % 2 == 1 { " other" } else { "" };
            put!(
                out,
                "<line class=\"mark\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"{bottom}\" y2=\"{}\"/>\
                 <text class=\"tick x{other}\" x=\"{x:.2}%\" y=\"{}\">{}</text>",
                bottom + 4.0,
                bottom + 18.0,
                escape(label),
            );
        }
        format!("{out}<line class=\"base\" x1=\"0\" x2=\"100%\" y1=\"{bottom}\" y2=\"{bottom}\"/>")
    }

    /// The pieces of a curve between its gaps, as places in the plot.
    fn pieces(&self, line: &Line) -> Vec<Vec<(f64, f64)>> {
        let mut pieces = vec![Vec::new()];
        for (x, y) in &line.points {
            match y {
                Some(y) if y.is_finite() => {
                    if let Some(piece) = pieces.last_mut() {
                        piece.push((self.x.scale.place(*x) * 1000.0, self.y_of(*y)));
                    }
                }
                _ => pieces.push(Vec::new()),
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    fn curve(&self, line: &Line) -> String {
        let (mut stroke, mut area) = (String::new(), String::new());
        for piece in self.pieces(line).iter().filter(|piece| piece.len() > 1) {
            let mut path = String::new();
            for (x, y) in piece {
                put!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
            }
            if line.area {
                let (first, last) = (piece[0].0, piece[piece.len() - 1].0);
                put!(area, "{path}V{h}H{first:.1}Z", h = self.height);
                debug_assert!(last >= first, "curves ascend in x");
            }
            stroke += &path;
        }
        let mut out = String::new();
        if !area.is_empty() {
            put!(out, "<path class=\"area {}\" d=\"{area}\"/>", line.class);
        }
        if !stroke.is_empty() {
            put!(out, "<path class=\"line {}\" d=\"{stroke}\"/>", line.class);
        }
        out
    }

    /// A value with a gap on both sides has no line through it, so it gets a dot.
    fn dots(&self, line: &Line) -> String {
        let mut out = String::new();
        for piece in self.pieces(line).iter().filter(|piece| piece.len() == 1) {
            let (x, y) = piece[0];
            put!(
                out,
                "<circle class=\"dot {}\" cx=\"{:.2}%\" cy=\"{y:.1}\" r=\"3\"/>",
                line.class,
                x / 10.0
            );
        }
        out
    }

    fn ends(&self) -> String {
        let mut named: Vec<(&Line, f64)> = Vec::new();
        for line in self.lines.iter().filter(|line| !line.end.is_empty()) {
            if let Some(y) = line.points.iter().rev().find_map(|(_, y)| *y) {
                named.push((line, self.y_of(y)));
            }
        }
        let mut places: Vec<f64> = named.iter().map(|(_, y)| *y).collect();
        apart(&mut places, 14.0, self.height);
        let mut out = String::new();
        for ((line, _), y) in named.iter().zip(places) {
            put!(
                out,
                "<text class=\"end {}\" x=\"100%\" dx=\"8\" y=\"{y:.1}\" dy=\"0.35em\">{}</text>",
                line.class,
                escape(&line.end),
            );
        }
        out
    }

    /// What the script of the page reads out: places, names, and each curve's values, as JSON for an
    /// attribute in single quotes.
    fn read_out(&self) -> String {
        let x: Vec<f64> =
            self.reads.iter().map(|(x, _)| rounded(self.x.scale.place(*x) * 100.0)).collect();
        let names: Vec<&str> = self.reads.iter().map(|(_, name)| name.as_str()).collect();
        let lines: Vec<serde_json::Value> = self
            .lines
            .iter()
            .map(|line| {
                let values: Vec<Option<f64>> =
                    self.reads.iter().map(|(x, _)| value_at(&line.points, *x)).collect();
                let y: Vec<Option<f64>> =
                    values.iter().map(|v| v.map(|v| rounded(self.y_of(v)))).collect();
                let text: Vec<String> =
                    values.iter().map(|v| v.map_or_else(String::new, self.value)).collect();
                serde_json::json!({ "n": line.name, "c": line.class, "y": y, "t": text })
            })
            .collect();
        let json = serde_json::json!({ "x": x, "n": names, "l": lines }).to_string();
        // It stands in single quotes: its own double quotes would each become six characters.
        let json = json.replace('&', "&amp;").replace('\'', "&#39;");
        json.replace('<', "&lt;").replace('>', "&gt;")
    }

    fn y_of(&self, value: f64) -> f64 {
        self.height * (1.0 - self.y.scale.place(value))
    }

    fn percent(&self, x: f64) -> f64 {
        self.x.scale.place(x) * 100.0
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The curve's value at `x`, between two of its points if need be; none outside of it.
fn value_at(points: &[(f64, Option<f64>)], x: f64) -> Option<f64> {
    let after = points.iter().position(|(at, _)| *at >= x - 1e-9)?;
    let (right, value) = points[after];
    if (right - x).abs() <= 1e-9 {
        return value;
    }
    let (left, before) = *points.get(after.checked_sub(1)?)?;
    let part = (x - left) / (right - left);
    Some(before? + (value? - before?) * part)
}

/// Moves labels so that no two are closer than `gap`, as little as that takes, within `height`.
fn apart(places: &mut [f64], gap: f64, height: f64) {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| places[a].total_cmp(&places[b]));
    let mut least = 0.0;
    for &i in &order {
        places[i] = places[i].max(least);
        least = places[i] + gap;
    }
    let mut most = height;
    for &i in order.iter().rev() {
        places[i] = places[i].min(most);
        most = places[i] - gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_move_apart_and_stay_inside() {
        let mut places = [200.0, 199.0, 198.0, 5.0];
        apart(&mut places, 14.0, 200.0);
        assert_eq!(places.map(|place| format!("{place}")).join(" "), "200 186 172 5");
    }

    #[test]
    fn values_between_points_are_interpolated() {
        let points = [(0.0, Some(1.0)), (2.0, Some(3.0)), (4.0, None)];
        assert_eq!(value_at(&points, 1.0), Some(2.0));
        assert_eq!(value_at(&points, 2.0), Some(3.0));
        assert_eq!(value_at(&points, 3.0), None);
        assert_eq!(value_at(&points, 5.0), None);
    }

    #[test]
    fn a_lonely_value_gets_a_dot() {
        let line = Line {
            name: "a".into(),
            class: "a".into(),
            points: vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(f64::NAN))],
            area: true,
            note: String::new(),
            end: "a".into(),
        };
        let axis = Axis::new(Scale::linear(0.0, 2.0), 4.0, super::super::format::tick);
        let chart = Chart {
            id: "c".into(),
            title: "t".into(),
            about: "d".into(),
            height: 100.0,
            x: axis.clone(),
            y: axis,
            lines: vec![line],
            shade: None,
            reads: vec![(0.0, "0 s".into())],
            value: super::super::format::number,
        };
        let html = chart.html();
        assert!(html.contains("<circle") && !html.contains("<path"));
        assert!(!html.contains("NaN"));
    }
}
