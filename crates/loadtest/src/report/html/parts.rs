//! The parts that pages are made of.

use super::super::Report;
use super::super::format::{NONE, escape, put};
use super::super::series::{self, Verdict};

/// What draws the charts: a library, in the page itself. Its own first line names an address.
fn script() -> String {
    let library = include_str!("../uplot/uPlot.iife.min.js");
    let (_, library) = library.split_once('\n').unwrap_or_default();
    let notice = "/* uPlot 1.6.32, Copyright (c) 2022 Leon Sorokin, MIT licence */";
    format!("{notice}\n{library}\n{}", include_str!("../page.js"))
}

/// A page around `body`.
pub fn shell(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{}</title>\n<style>\n{}\n{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <noscript><p class=\"note\">The charts need JavaScript; everything else is shown.</p></noscript>\n\
         <script>\n{}</script>\n</body>\n</html>\n",
        escape(title),
        include_str!("../uplot/uPlot.min.css"),
        include_str!("../page.css"),
        script(),
    )
}

/// A part of the page with a heading.
pub fn section(title: &str, about: &str, body: &str) -> String {
    let about = if about.is_empty() { String::new() } else { format!("<p>{}</p>", escape(about)) };
    format!("<section>\n<header><h2>{}</h2>{about}</header>\n{body}</section>\n", escape(title))
}

/// One of the figures a person looks for first.
#[derive(Debug)]
pub struct Tile {
    /// What it is.
    pub label: String,
    /// The figure.
    pub value: String,
    /// Its unit.
    pub unit: &'static str,
    /// A line below.
    pub note: String,
    /// A class: `bad`, `warn`, `good` or none.
    pub class: &'static str,
}

/// The figures a person looks for first, side by side.
pub fn tiles(tiles: &[Tile]) -> String {
    let mut out = String::new();
    for tile in tiles {
        put!(
            out,
            "<div class=\"card tile {}\"><dt>{}</dt><dd><strong>{}</strong> <span>{}</span>\
             <small>{}</small></dd></div>\n",
            tile.class,
            escape(&tile.label),
            escape(&tile.value),
            tile.unit,
            escape(&tile.note),
        );
    }
    format!("<dl class=\"tiles\">\n{out}</dl>\n")
}

/// The verdict as a coloured badge with a sign.
pub fn badge(report: &Report) -> String {
    let (class, sign) = match series::verdict(&report.proof) {
        Verdict::Kept => ("good", "✓"),
        Verdict::Broken => ("bad", "✗"),
        Verdict::Unproven | Verdict::Unchecked => ("warn", "?"),
    };
    let line = escape(&series::verdict_line(&report.proof));
    format!("<p class=\"badge {class}\"><b aria-hidden=\"true\">{sign}</b><span>{line}</span></p>")
}

/// A table with numbers to the right of each row's name. Cells are markup: what is not ours is escaped
/// before it comes here.
pub fn grid(columns: &[&str], rows: &[Vec<String>]) -> String {
    let (mut head, mut body) = (String::new(), String::new());
    for name in columns {
        put!(head, "<th scope=\"col\">{name}</th>");
    }
    for row in rows {
        let mut cells = String::new();
        for (i, cell) in row.iter().enumerate() {
            if i == 0 {
                put!(cells, "<th scope=\"row\">{cell}</th>");
            } else {
                put!(cells, "<td>{cell}</td>");
            }
        }
        put!(body, "<tr>{cells}</tr>\n");
    }
    format!(
        "<div class=\"card scroll\"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody>\
         </table></div>\n"
    )
}

/// Names and values, one below the other.
pub fn facts(pairs: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        let value = if value.is_empty() { NONE } else { value };
        put!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value));
    }
    format!("<dl class=\"facts\">{out}</dl>")
}

/// A bar with its name and value.
#[derive(Debug)]
pub struct Bar<'a> {
    /// What it counts.
    pub name: &'a str,
    /// The class of its colour.
    pub class: &'a str,
    /// Its length, 0 to 1.
    pub part: f64,
    /// The figure.
    pub value: &'a str,
    /// What follows the figure.
    pub note: &'a str,
}

/// A bar as an entry of a list.
pub fn bar(bar: &Bar) -> String {
    format!(
        "<li><span class=\"name\">{}</span><span class=\"track\"><i class=\"{}\" \
         style=\"width:{:.2}%\"></i></span><span class=\"value\">{} <small>{}</small></span></li>",
        escape(bar.name),
        bar.class,
        bar.part.clamp(0.0, 1.0) * 100.0,
        escape(bar.value),
        escape(bar.note),
    )
}
