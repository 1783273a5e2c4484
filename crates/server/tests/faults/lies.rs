//! The negative control of the judgement: each lie that is planted in a true history is found.

use crate::judge::{self, Booking, Books, Counters, Replay, Rules};
use crate::record::{Asked, Heard, History, Op, Record, Try, Which};
use std::time::Duration;

fn answer(op: Op, status: u16, code: &str, retry_after: bool) -> Record {
    Record {
        op,
        which: Which::Plenty,
        instance: 0,
        started: Duration::from_secs(1),
        ended: Duration::from_millis(1_010),
        deadline: Some(Duration::from_mins(10)),
        heard: Heard::Answer { status, code: code.to_owned(), retry_after },
    }
}

/// Two buyers who held a seat each, of whom one confirmed, and a third who heard nothing of the hold.
fn truth() -> (History, Books) {
    let mut history = History::default();
    let mut books = Books::default();
    let stories = [("a", Asked::Acknowledged), ("b", Asked::No), ("lost", Asked::No)];
    for (key, confirm) in stories {
        let status = if confirm == Asked::No { "HOLD" } else { "CONFIRMED" };
        let booking_id = format!("booking of {key}");
        let heard = (key != "lost").then(|| booking_id.clone());
        history.tries.push(Try {
            buyer: 0,
            which: Which::Plenty,
            key: key.to_owned(),
            seats: 1,
            booking_id: heard,
            confirm,
            cancel: Asked::No,
        });
        let booking = Booking { which: Which::Plenty, seats: 1, status: status.to_owned() };
        books.bookings.insert(booking_id.clone(), booking);
        books.replays.push(Replay { booking_id: Some(booking_id), is_replayed: true });
    }
    books.plenty = Some(Counters { capacity: 3, available: 0, held: 2, sold: 1 });
    history.records = vec![
        answer(Op::Hold, 201, "", false),
        answer(Op::Hold, 503, "unavailable", true),
        answer(Op::Confirm, 200, "", false),
        answer(Op::Look, 200, "", false),
    ];
    (history, books)
}

fn judged(history: &History, books: &Books, rules: &Rules) -> Result<(), String> {
    judge::answers(history, rules)?;
    judge::books(history, books, rules)
}

const EXCUSED: Rules = Rules {
    refusals: true,
    broken: false,
    silence: false,
    lapse: false,
    lag: Duration::from_millis(50),
};

/// The judgement names this when the truth is changed so.
#[track_caller]
fn finds(named: &str, lie: impl FnOnce(&mut History, &mut Books)) {
    let (mut history, mut books) = truth();
    judged(&history, &books, &EXCUSED).expect("the control is fair");
    lie(&mut history, &mut books);
    let found = judged(&history, &books, &EXCUSED).expect_err("a lie passes");
    assert!(found.contains(named), "found, but not by {named:?}: {found}");
}

/// The judgement names this when such an answer was given.
#[track_caller]
fn finds_answer(named: &str, record: Record) {
    finds(named, |history, _| history.records.push(record));
}

#[test]
fn a_lost_acknowledgement_is_found() {
    finds("an acknowledged hold is lost", |_, books| {
        books.bookings.remove("booking of b");
    });
    finds("is HOLD, against", |_, books| {
        books.bookings.get_mut("booking of a").expect("there").status = "HOLD".to_owned();
    });
    finds("is EXPIRED, against", |_, books| {
        books.bookings.get_mut("booking of b").expect("there").status = "EXPIRED".to_owned();
    });
    finds("the key of an acknowledged hold is lost", |_, books| {
        books.replays[0].booking_id = None;
    });
}

#[test]
fn two_bookings_for_one_key_are_found() {
    let second = Booking { which: Which::Plenty, seats: 1, status: "HOLD".to_owned() };
    finds("two bookings for one key", |_, books| {
        books.bookings.insert("the second of a".to_owned(), second);
    });
    finds("two bookings for one key", |_, books| {
        books.replays[0].booking_id = Some("the second of a".to_owned());
    });
    finds("replayed: false", |_, books| books.replays[2].is_replayed = false);
    finds("two keys made one booking", |_, books| {
        books.replays[2].booking_id = Some("booking of a".to_owned());
    });
}

#[test]
fn an_oversell_and_counters_that_lie_are_found() {
    finds("oversold", |_, books| {
        books.plenty.as_mut().expect("there").capacity = 2;
    });
    finds("but told", |_, books| books.plenty.as_mut().expect("there").available = 1);
    finds("but told", |_, books| books.plenty.as_mut().expect("there").sold = 2);
}

#[test]
fn an_answer_that_is_not_in_the_contract_is_found() {
    for (op, status, code) in [
        (Op::Hold, 500, "internal"),
        (Op::Confirm, 404, "not_found"),
        (Op::Hold, 409, "sold_out"),
        (Op::Confirm, 409, "sold_out"),
        (Op::Hold, 503, ""),
    ] {
        finds_answer("not in the contract", answer(op, status, code, true));
    }
    finds_answer("Retry-After", answer(Op::Hold, 503, "unavailable", false));
    finds_answer("refused at its end", answer(Op::Confirm, 410, "hold_expired", false));
}

#[test]
fn a_wait_and_a_silence_are_found() {
    let mut late = answer(Op::Hold, 201, "", false);
    late.ended = late.started + Duration::from_secs(6);
    finds_answer("an answer took 6s", late.clone());
    late.heard = Heard::Silence;
    finds_answer("no answer within", late.clone());
    late.heard = Heard::Broken("connection reset".to_owned());
    finds_answer("a connection broke", late);
    finds("never succeeded", |history, _| history.given_up.push("Hold a".to_owned()));
}

#[test]
fn what_a_row_does_not_excuse_is_found() {
    let (history, books) = truth();
    let found = judged(&history, &books, &Rules::default()).expect_err("a 503 passes");
    assert!(found.contains("for no reason"), "{found}");
}

#[test]
fn a_hold_that_was_refused_before_its_end_is_found_where_holds_lapse() {
    let rules = Rules { lapse: true, ..EXCUSED };
    let (mut history, books) = truth();
    let mut refused = answer(Op::Confirm, 410, "hold_expired", false);
    refused.deadline = Some(refused.ended);
    history.records.push(refused);
    judged(&history, &books, &rules).expect("at its end a hold may be refused");
    let record = history.records.last_mut().expect("just pushed");
    record.deadline = Some(record.ended + Duration::from_millis(1));
    let found = judged(&history, &books, &rules).expect_err("a refusal before the end passes");
    assert!(found.contains("refused at its end"), "{found}");
}
