//! Another currency for all prices of an event.

use super::seats::layout_at;
use super::writer::Writing;
use crate::maps::Maps;
use engine::event::Repricing;
use engine::{Currency, Error, Fault, Section};

/// Writes the currency of sections, and adds them to a repricing with the layouts they have.
pub(super) fn reprice(
    writing: &Writing<'_>,
    sections: &[Section],
    currency: Currency,
    maps: &Maps,
    repricing: &mut Repricing,
) -> Result<(), Error> {
    const DOING: &str = "changing a currency";
    const SQL: &str = "UPDATE sections SET currency = ? WHERE section_id = ?";
    for Section { section_id, layout_version, .. } in sections {
        let layout = match layout_version {
            Some(version) => {
                Some(layout_at(writing, maps, *section_id, *version)?.ok_or_else(|| {
                    Fault::Corrupt { what: format!("section {section_id} has no layout") }
                })?)
            }
            None => None,
        };
        repricing.add(*section_id, layout.as_deref())?;
        writing.run(DOING, SQL, (currency.as_str(), section_id.as_bytes()))?;
    }
    Ok(())
}
