//! The initial contents of new sections: a capacity, or numbered seats.

use crate::http::App;
use crate::http::problem::{FieldError, Problem};
use crate::http::seats::{LayoutForm, aside, field_errors};
use engine::seats::{FLAWS_TOLD_MAX, Layout, SEATS_MAX};
use engine::{Opening, Section};
use std::sync::Arc;

/// What a section is to begin with, before its layout is checked.
pub(super) enum Sizing {
    Capacity(i64),
    Layout(LayoutForm),
}

/// Checks the layouts of new sections, off the threads that answer: the flaws of all of them are reported
/// together, below the fields that `field` names. Those with numbered seats get their lowest price.
pub(super) async fn open(
    app: &App,
    planned: Vec<(Section, Sizing)>,
    field: fn(usize) -> String,
) -> Result<(Vec<Section>, Vec<Opening>), Problem> {
    if planned.iter().all(|(_, plan)| matches!(plan, Sizing::Capacity(_))) {
        return opened(planned, field).map(|all| all.into_iter().unzip());
    }
    let turn = app.seats.imports.turn_soon().await?;
    let (all, _turn) = aside(turn, move || opened(planned, field)).await?;
    all.map(|all| all.into_iter().unzip())
}

fn opened(
    planned: Vec<(Section, Sizing)>,
    field: fn(usize) -> String,
) -> Result<Vec<(Section, Opening)>, Problem> {
    let (mut all, mut seats, mut errors, mut untold) = (Vec::new(), 0, Vec::new(), 0);
    for (at, (mut section, plan)) in planned.into_iter().enumerate() {
        let form = match plan {
            Sizing::Capacity(capacity) => {
                all.push((section, Opening::Capacity(capacity)));
                continue;
            }
            Sizing::Layout(form) => form,
        };
        let draft = form.draft(&section.name, section.price);
        let layout = draft.and_then(|draft| {
            seats += draft.rows.iter().map(|row| row.seats.len()).sum::<usize>();
            Layout::new(&draft)
        });
        match layout {
            Ok(layout) => {
                section.price = layout.lowest_price();
                all.push((section, Opening::Layout(Arc::new(layout))));
            }
            Err(flaws) => {
                untold += flaws.count - flaws.told.len();
                errors.extend(field_errors(&flaws, &format!("{}layout.", field(at))));
            }
        }
        if at > 0 && seats > SEATS_MAX && errors.is_empty() {
            let message = format!(
                "the layouts of one request can have at most {SEATS_MAX} seats in total; add the \
                 other sections in separate requests"
            );
            errors.push(FieldError { field: format!("{}layout", field(at)), message });
        }
        if seats > SEATS_MAX && !errors.is_empty() {
            break;
        }
    }
    if errors.is_empty() {
        return Ok(all);
    }
    untold += errors.len().saturating_sub(FLAWS_TOLD_MAX);
    errors.truncate(FLAWS_TOLD_MAX);
    Err(Problem::invalid_among(&errors, untold))
}
