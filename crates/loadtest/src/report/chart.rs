//! Line charts, drawn by uPlot when the page is opened.
//!
//! The content of the charts: names, values and gaps as data, and what those
//! read who cannot see it. `page.js` makes the library's options of it; scales, marks, the read-out
//! under the pointer and the zoom are the library's.

use super::format::{duration, escape, number, put};

/// One curve.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Classes of the style sheet: a colour, and perhaps `dash`, `dots` or `thin`.
    pub class: String,
    /// Ascending in x. Where there is no value the curve has a gap.
    pub points: Vec<(f64, Option<f64>)>,
    /// Whether the area below is tinted.
    pub area: bool,
    /// What the legend adds to the name, such as a total.
    pub note: String,
}

/// What lies along the horizontal axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// Seconds.
    Time,
    /// Percentiles p as 1/(1-p), on a log scale.
    Percentile,
}

/// What the curves count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Answers per second, from zero.
    Rate,
    /// Seats, from zero.
    Count,
    /// Milliseconds, on a log scale.
    Latency,
}

impl Values {
    fn text(self, value: f64) -> String {
        match self {
            Self::Rate => format!("{}/s", number(value)),
            Self::Count => number(value),
            Self::Latency => duration(value),
        }
    }
}

/// A chart with a legend, in which a pointer reads values out.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Unique in the page; a name for links and labels.
    pub id: String,
    /// The heading.
    pub title: String,
    /// A sentence that says what is drawn, for those who see it and those who hear it.
    pub about: String,
    /// In pixels, with its axes.
    pub height: u32,
    /// The horizontal axis.
    pub x: Along,
    /// The vertical axis.
    pub y: Values,
    /// The curves in the order of the legend, the last drawn on top.
    pub lines: Vec<Line>,
    /// A range of x to shade, and the word for it.
    pub shade: Option<(f64, f64, &'static str)>,
}

impl Chart {
    /// The chart as a `<figure>`.
    pub fn html(&self) -> String {
        let id = escape(&self.id);
        let (legend, body) = if self.is_empty() {
            (String::new(), "<p class=\"note\">Nothing to draw.</p>".to_owned())
        } else {
            let body = format!(
                "<div class=\"plot\" role=\"img\" aria-label=\"{words}\" \
                 style=\"height:{height}px\" data-chart='{data}'></div>",
                words = escape(&format!("{}. {} {}", self.title, self.about, self.in_words())),
                height = self.height,
                data = self.data(),
            );
            (self.legend(), body)
        };
        format!(
            "<figure class=\"card chart\" id=\"{id}\"><figcaption><h3>{title}</h3><p>{about}</p>\
             </figcaption>{legend}{body}</figure>\n",
            title = escape(&self.title),
            about = escape(&self.about),
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
                 <line class=\"{}\" x1=\"1\" y1=\"5\" x2=\"21\" y2=\"5\"/></svg>{}{}<output></output></li>",
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

    /// The least and the greatest of each curve, for those who cannot see it.
    fn in_words(&self) -> String {
        let mut words = Vec::new();
        for line in &self.lines {
            let values = || line.points.iter().filter_map(|(_, y)| *y);
            let least = values().fold(f64::INFINITY, f64::min);
            let most = values().fold(f64::NEG_INFINITY, f64::max);
            if least <= most {
                let (least, most) = (self.y.text(least), self.y.text(most));
                words.push(format!("{}: {least} to {most}.", line.name));
            }
        }
        words.join(" ")
    }

    /// What `page.js` draws, as JSON for an attribute in single quotes: its own double quotes would each
    /// become six characters. What is no number is a gap.
    fn data(&self) -> String {
        let x = match self.x {
            Along::Time => "time",
            Along::Percentile => "percentile",
        };
        let y = match self.y {
            Values::Rate => "rate",
            Values::Count => "count",
            Values::Latency => "latency",
        };
        let number = |value: f64| Some(value).filter(|it| it.is_finite()).map(rounded);
        let lines: Vec<serde_json::Value> = self
            .lines
            .iter()
            .map(|line| {
                let points = || line.points.iter().filter(|(x, _)| x.is_finite());
                let x: Vec<f64> = points().map(|(x, _)| rounded(*x)).collect();
                let y: Vec<Option<f64>> = points().map(|(_, y)| y.and_then(number)).collect();
                serde_json::json!({ "class": line.class, "area": line.area, "x": x, "y": y })
            })
            .collect();
        let data = serde_json::json!({ "x": x, "y": y, "shade": self.shade, "lines": lines });
        data.to_string().replace('&', "&amp;").replace('\'', "&#39;").replace('<', "&lt;")
    }
}

/// To six digits: more than a screen shows, in a third of the bytes.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, Option<f64>)>) -> Chart {
        let line =
            Line { name: "a".into(), class: "a".into(), points, area: true, note: String::new() };
        Chart {
            id: "c".into(),
            title: "t".into(),
            about: "It's <drawn>.".into(),
            height: 100,
            x: Along::Time,
            y: Values::Latency,
            lines: vec![line],
            shade: Some((0.0, 2.0, "warm-up")),
        }
    }

    #[test]
    fn what_is_drawn_is_data_and_what_is_no_number_is_a_gap() {
        let odd =
            vec![(0.0, Some(1.234_567_89)), (1.0, None), (2.0, Some(f64::NAN)), (3.0, Some(2.0))];
        let html = chart(odd).html();
        let (_, data) = html.split_once("data-chart='").expect("data");
        let (data, _) = data.split_once('\'').expect("it ends");
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(data["lines"][0]["x"], serde_json::json!([0.0, 1.0, 2.0, 3.0]));
        assert_eq!(data["lines"][0]["y"], serde_json::json!([1.23457, null, null, 2.0]));
        assert_eq!((&data["x"], &data["y"]), (&"time".into(), &"latency".into()));
        assert_eq!(data["shade"], serde_json::json!([0.0, 2.0, "warm-up"]));
    }

    #[test]
    fn who_cannot_see_a_chart_is_told_what_it_shows() {
        let html = chart(vec![(0.0, Some(0.5)), (1.0, Some(1_200.0))]).html();
        let words = "aria-label=\"t. It&#39;s &lt;drawn&gt;. a: 500\u{a0}µs to 1.20\u{a0}s.\"";
        assert!(html.contains(words), "{html}");
    }

    #[test]
    fn a_chart_without_a_value_says_so() {
        let html = chart(vec![(0.0, None)]).html();
        assert!(html.contains("Nothing to draw.") && !html.contains("data-chart"));
    }
}
