//! Another currency for all prices of an event.

use super::Postgres;
use super::interrupt::Interrupt;
use super::rows::uuids;
use super::seats::read_layout;
use crate::maps::Stamps;
use engine::decide::SeatMaps;
use engine::event::{REPRICED_SEATS_MAX, in_currency, may_change_currency};
use engine::{Currency, Fault, Inventory, Refusal, Section, UserId};
use sqlx::postgres::PgConnection;

impl Postgres {
    /// Gives all prices of an event another currency.
    pub(super) async fn change_currency(
        &self,
        session: &mut PgConnection,
        sections: &[Section],
        by: UserId,
        currency: Currency,
    ) -> Result<(Vec<Inventory>, (SeatMaps, Stamps)), Interrupt> {
        const SQL: &str = "UPDATE sections SET currency = $2 WHERE section_id = ANY($1)";
        let (mut commands, mut seats) = (Vec::with_capacity(sections.len()), 0);
        for Section { section_id, layout_version, .. } in sections {
            let layout = match layout_version {
                Some(_) => {
                    let missing = || format!("section {section_id} has no layout");
                    let laid = read_layout(session, *section_id).await?;
                    Some(laid.ok_or_else(|| Fault::Corrupt { what: missing() })?.1)
                }
                None => None,
            };
            seats += layout.as_ref().map_or(0, |layout| layout.seats() as usize);
            if seats > REPRICED_SEATS_MAX {
                return Err(Refusal::TooManyToReprice { limit: REPRICED_SEATS_MAX }.into());
            }
            commands.push(in_currency(*section_id, by, layout.as_deref(), currency));
        }
        let ids = uuids(sections.iter().map(|section| section.section_id));
        let query = sqlx::query(SQL).bind(ids).bind(currency.as_str().to_owned());
        query.execute(&mut *session).await?;
        let (inventories, maps) = self.decide_sections(session, &commands).await?;
        may_change_currency(inventories.iter())?;
        Ok((inventories, maps))
    }
}
