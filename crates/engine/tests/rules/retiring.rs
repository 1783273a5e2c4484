//! In which order due holds end.

use engine::{Command, Hold, LogKind, Overrides, SeatRequest};
use suite::world::{ManualClock, Mint, POLICY, opened};
use suite::{Backend as _, Kind as _, Pure, PureRules};

#[test]
fn due_holds_are_retired_oldest_first() {
    let clock = ManualClock::new();
    let mint = Mint::new(&clock);
    let pure = Pure::new(POLICY, &clock);
    let mut new = mint.event_on_sale(mint.user());
    let event_id = new.event.terms.event_id;
    new.sections.push(mint.section_of(event_id, "A"));
    let section_id = new.sections[0].section_id;
    PureRules.block_on(async {
        pure.create_event(&new, &opened(&[100])).await;
        for _ in 0..50 {
            clock.advance_ms(1);
            let requests = vec![SeatRequest::Count { section_id, seats: 1 }];
            let (booking_id, user_id) = (mint.booking(event_id), mint.user());
            let hold = Hold {
                booking_id,
                user_id,
                seller: None,
                overrides: Overrides::NONE,
                event_id,
                requests,
                key: None,
            };
            pure.commit(&[Command::Hold(hold)]).await;
        }
        clock.advance_ms(600_000);
        pure.commit(&[Command::Retire { section_id }]).await;
    });
    let log = pure.log();
    let of_kind = |kind| log.iter().filter(move |entry| entry.kind == kind);
    let held: Vec<_> = of_kind(LogKind::Held).map(|entry| entry.booking_id).collect();
    let expired: Vec<_> = of_kind(LogKind::Expired).map(|entry| entry.booking_id).collect();
    assert_eq!(expired.len(), 50);
    assert_eq!(expired, held);
}
