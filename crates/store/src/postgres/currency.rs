//! Another currency for all prices of an event.

use super::Postgres;
use super::interrupt::Interrupt;
use super::rows::uuids;
use super::seats::read_layout;
use engine::event::Repricing;
use engine::{Currency, Fault, Section};
use sqlx::postgres::PgConnection;

impl Postgres {
    /// Writes the currency of sections, and adds them to a repricing with the layouts they have.
    pub(super) async fn reprice(
        &self,
        session: &mut PgConnection,
        sections: &[Section],
        currency: Currency,
        repricing: &mut Repricing,
    ) -> Result<(), Interrupt> {
        const SQL: &str = "UPDATE sections SET currency = $2 WHERE section_id = ANY($1)";
        for Section { section_id, layout_version, .. } in sections {
            let layout = match layout_version {
                Some(_) => {
                    let missing = || format!("section {section_id} has no layout");
                    let laid = read_layout(session, *section_id).await?;
                    Some(laid.ok_or_else(|| Fault::Corrupt { what: missing() })?.1)
                }
                None => None,
            };
            repricing.add(*section_id, layout.as_deref())?;
        }
        let ids = uuids(sections.iter().map(|section| section.section_id));
        let query = sqlx::query(SQL).bind(ids).bind(currency.as_str().to_owned());
        query.execute(&mut *session).await?;
        Ok(())
    }
}
