//! `reservix-load`: puts load on a Reservix from the outside, and proves afterwards that nothing was
//! sold twice. It speaks HTTP alone and shares no code with the server.

mod report;

use report::{Report, compare, html, table};
use std::error::Error;
use std::fs;

/// Shows reports until there is a load to report on: `show A.json [PAGE.html]` and
/// `compare A.json B.json [PAGE.html]`.
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["show", a, page @ ..] => {
            let a = read(a)?;
            print!("{}", table::text(&a, true));
            write(page, &html::page(&a))
        }
        ["compare", a, b, page @ ..] => {
            let (a, b) = (read(a)?, read(b)?);
            print!("{}", compare::text(&a, &b, true));
            write(page, &compare::page(&a, &b))
        }
        _ => Err("show A.json [PAGE.html] | compare A.json B.json [PAGE.html]".into()),
    }
}

fn read(path: &str) -> Result<Report, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn write(path: &[&str], page: &str) -> Result<(), Box<dyn Error>> {
    if let Some(path) = path.first() {
        fs::write(path, page)?;
    }
    Ok(())
}
