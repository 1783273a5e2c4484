//! Numbered seats beyond single commands: what an audit finds when somebody has changed rows behind its
//! back, and migrations.

mod damage;
mod migrations;

use crate::world::Fresh;
use engine::{
    Blocked, Booking, By, Command, EventId, Hold, Outcome, Overrides, Refusal, SeatRequest,
    SectionId, UserId,
};
use suite::halls::{laid, names};
use suite::world::{ManualClock, Mint};

/// A store with an event: rows `A` and `B` of six seats, and a section of nine that counts them.
struct Hall {
    fresh: Fresh,
    clock: ManualClock,
    mint: Mint,
    event_id: EventId,
    organizer_id: UserId,
    numbered: SectionId,
    counted: SectionId,
    /// `A-1`, `A-2` and a seat of the other section, held.
    held: Booking,
    /// `B-1` and `B-2`, sold.
    sold: Booking,
}

impl Hall {
    /// With `A-6` and `B-6` blocked beside the bookings.
    async fn new(fresh: Fresh, clock: ManualClock) -> Self {
        let mint = Mint::new(&clock);
        let organizer_id = mint.user();
        let mut new = mint.event_on_sale(organizer_id);
        let event_id = new.event.terms.event_id;
        new.sections = ["N", "C"].map(|name| mint.section_of(event_id, name)).to_vec();
        let [numbered, counted] = [0, 1].map(|at: usize| new.sections[at].section_id);
        let created = fresh
            .store
            .create_event(&new, suite::world::owner(&new), &[laid("A-B", 6), 9.into()], None)
            .await;
        created.expect("the event is recorded");
        let named =
            |seats: &[&str]| SeatRequest::Seats { section_id: numbered, seats: names(seats) };
        let cart =
            vec![named(&["A-1", "A-2"]), SeatRequest::Count { section_id: counted, seats: 1 }];
        let hold = |requests| Hold {
            booking_id: mint.booking(event_id),
            user_id: mint.user(),
            seller: None,
            overrides: Overrides::NONE,
            event_id,
            requests,
            key: None,
        };
        let batch = [Command::Hold(hold(cart)), Command::Hold(hold(vec![named(&["B-1", "B-2"])]))];
        let answers = fresh.store.commit(&batch).await.expect("the store answers").answers;
        let [held, sold] = <[_; 2]>::try_from(answers).expect("two answers").map(booking);
        let hall =
            Self { fresh, clock, mint, event_id, organizer_id, numbered, counted, held, sold };
        let block = Command::Block {
            section_id: numbered,
            by: organizer_id.into(),
            blocked: Blocked::Seats(names(&["A-6", "B-6"])),
            reason: None,
        };
        hall.one(block).await.expect("they are free");
        let (booking_id, user_id) = (hall.sold.booking_id, hall.sold.user_id);
        booking(hall.one(Command::Confirm { booking_id, by: By::User(user_id) }).await);
        hall.assert_sound().await;
        hall
    }

    async fn one(&self, command: Command) -> Result<Outcome, Refusal> {
        let committed = self.fresh.store.commit(&[command]).await;
        committed.expect("the store answers").answers.pop().expect("one answer")
    }

    async fn broken(&self) -> Vec<&'static str> {
        let report = self.fresh.store.audit().await.expect("the store answers");
        report.told.iter().map(|violation| violation.invariant).collect()
    }

    async fn assert_sound(&self) {
        let report = self.fresh.store.audit().await.expect("the store answers");
        assert!(report.is_clean(), "the audit finds {:?}", report.told);
    }
}

fn booking(answer: Result<Outcome, Refusal>) -> Booking {
    match answer {
        Ok(Outcome::Booking { booking, .. }) => booking,
        other => panic!("expected a booking, got {other:?}"),
    }
}
