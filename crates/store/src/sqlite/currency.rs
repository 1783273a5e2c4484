//! Another currency for all prices of an event.

use super::commit::decide_in;
use super::seats::layout_at;
use super::writer::Writing;
use crate::maps::Maps;
use engine::decide::SeatMaps;
use engine::event::{REPRICED_SEATS_MAX, in_currency, may_change_currency};
use engine::{Currency, Error, Fault, Inventory, Policy, Refusal, Section, UserId};

/// Gives all prices of an event another currency.
pub(super) fn change_currency(
    writing: &Writing<'_>,
    sections: &[Section],
    by: UserId,
    currency: Currency,
    policy: Policy,
    maps: &Maps,
) -> Result<(Vec<Inventory>, SeatMaps), Error> {
    const DOING: &str = "changing a currency";
    const SQL: &str = "UPDATE sections SET currency = ? WHERE section_id = ?";
    let (mut commands, mut seats) = (Vec::with_capacity(sections.len()), 0);
    for Section { section_id, layout_version, .. } in sections {
        let layout = match layout_version {
            Some(version) => {
                Some(layout_at(writing, maps, *section_id, *version)?.ok_or_else(|| {
                    Fault::Corrupt { what: format!("section {section_id} has no layout") }
                })?)
            }
            None => None,
        };
        seats += layout.as_ref().map_or(0, |layout| layout.seats() as usize);
        if seats > REPRICED_SEATS_MAX {
            return Err(Refusal::TooManyToReprice { limit: REPRICED_SEATS_MAX }.into());
        }
        commands.push(in_currency(*section_id, by, layout.as_deref(), currency));
        writing.run(DOING, SQL, (currency.as_str(), section_id.as_bytes()))?;
    }
    let (committed, changed) = decide_in(writing, &commands, policy, maps, true)?;
    committed.answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    may_change_currency(committed.inventories.iter())?;
    Ok((committed.inventories, changed))
}
