//! Layouts: what is refused and how it is reported, and round trips through every form.

use super::*;
use proptest::prelude::*;

/// A sound draft of two rows of two seats.
fn sound() -> Draft {
    let short = Short {
        rows: "A-B".into(),
        seats_per_row: 2,
        aisles_after: vec![1],
        category: category("Gold", 20),
        shape: Shape::Block,
    };
    short.draft().expect("sound")
}

fn told<T: std::fmt::Debug>(result: Result<T, Flaws>) -> String {
    result.expect_err("flawed").to_string()
}

#[test]
fn what_is_wrong_with_a_layout_names_row_seat_field_and_limit() {
    type Spoil = fn(&mut Draft);
    let table: [(Spoil, &str); 18] = [
        (|d| d.rows.clear(), "rows: must be 1 to 5000 rows; the layout has 0"),
        (
            |d| d.rows[1].label = "A".into(),
            "row \"A\", row: duplicate label; row number 1 has the \
            same one",
        ),
        (|d| d.rows[0].label = " A".into(), "row \" A\", row: must not begin or end with a space"),
        (|d| d.rows[0].seats.clear(), "row \"A\", seats: must be 1 to 1000 seats; the row has 0"),
        (
            |d| d.rows[0].seats = vec![d.rows[0].seats[0].clone(); 1_001],
            "row \"A\", seats: must be 1 to 1000 seats; the row has 1001; \
             row \"A\", seat \"1\", number: duplicate number",
        ),
        (
            |d| d.rows[0].seats[1].number = "1".into(),
            "row \"A\", seat \"1\", number: duplicate number; seat 1 of the row has the same one",
        ),
        (
            |d| d.rows[0].seats[1].number = "1-2".into(),
            "row \"A\", seat \"1-2\", number: must be 1 to 8 ASCII letters and digits",
        ),
        (
            |d| d.rows[0].seats[1].number = "123456789".into(),
            "row \"A\", seat \"123456789\", number: must be 1 to 8",
        ),
        (|d| d.rows[0].seats[1].number = String::new(), "row \"A\", seat \"\", number: must be"),
        (
            |d| d.rows[1].seats[0].category = "Tin".into(),
            "row \"B\", seat \"1\", category: unknown category \"Tin\"",
        ),
        (
            |d| d.rows[1].seats[0].at.x = -1_000_001,
            "row \"B\", seat \"1\", at: x and y must be -1000000 to 1000000",
        ),
        (
            |d| {
                d.rows[0].seats[0].flags =
                    Flags { accessible: true, companion: true, restricted_view: false };
            },
            "row \"A\", seat \"1\", flags: must not be both accessible and companion",
        ),
        (
            |d| d.focal = Some(Point { x: 0, y: i32::MIN }),
            "focal: x and y must be -1000000 to 1000000",
        ),
        (|d| d.categories.push(category("Gold", 1)), "category number 2, name: duplicate"),
        (|d| d.categories.push(category("", 1)), "category number 2, name: \"\": must be 1 to 32"),
        (
            |d| d.categories.push(category("Tin", -1)),
            "category number 2, price: must be 0 to 100000000000 (category \"Tin\")",
        ),
        (
            |d| {
                let mut tin = category("Tin", 1);
                tin.price.currency = Currency::parse("EUR").expect("valid");
                d.categories.push(tin);
            },
            "category number 2, price: must have the same currency in all categories (category \"Tin\")",
        ),
        (
            |d| d.categories = (0..65).map(|at| category(&at.to_string(), 1)).collect(),
            "categories: must be 1 to 64 categories; the layout has 65; \
             row \"A\", seat \"1\", category: unknown",
        ),
    ];
    for (spoil, expected) in table {
        let mut draft = sound();
        spoil(&mut draft);
        let told = told(Layout::new(&draft));
        assert!(told.starts_with(expected), "{told}\n  not {expected}");
    }
}

#[test]
fn i9_flaws_are_all_counted_and_the_first_hundred_told() {
    let mut draft = arc("A-Z", 200);
    for seat in draft.rows.iter_mut().flat_map(|row| &mut row.seats) {
        seat.category = "x".repeat(1_000);
    }
    let flaws = Layout::new(&draft).expect_err("flawed");
    assert_eq!((flaws.count, flaws.told.len()), (26 * 200, FLAWS_TOLD_MAX));
    assert!(flaws.to_string().len() < 30_000);
    assert!(flaws.to_string().ends_with("; and 5100 more"));
}

#[test]
fn a_section_has_at_most_100_000_seats_and_they_are_all_found() {
    let layout = Layout::new(&arc("1-100", 1_000)).expect("sound");
    assert_eq!(layout.seats(), 100_000);
    for seat in 0..layout.seats() {
        assert_eq!(layout.find(&layout.name(seat).to_string()), Some(seat));
    }
    let mut draft = layout.draft();
    draft.rows.push(RowDraft { label: "X".into(), seats: draft.rows[0].seats[..1].to_vec() });
    let told = told(Layout::new(&draft));
    assert_eq!(told, "seats: must be at most 100000 seats; the layout has 100001");
}

#[test]
fn a_seat_is_found_by_its_row_and_its_number() {
    let mut draft = arc("A-Z,AA-AC", 16);
    draft.rows[0].label = "Box-1".into();
    draft.rows[1].seats[3].number = "4b".into();
    let layout = Layout::new(&draft).expect("sound");
    for (name, expected) in [
        ("Box-1-1", Some(0)),
        ("Box-1-16", Some(15)),
        ("B-4b", Some(19)),
        ("C-12", Some(43)),
        ("AC-16", Some(29 * 16 - 1)),
    ] {
        assert_eq!(layout.find(name), expected, "{name}");
        assert_eq!(layout.name(expected.expect("some")).to_string(), name);
    }
    for name in ["", "-", "C", "C-", "C-0", "C-17", "C-012", "c-12", "B-4", "B-4B", "AD-1", "C-12 "]
    {
        assert_eq!(layout.find(name), None, "{name}");
    }
    let beside = |seat| layout.neighbours(seat).collect::<Vec<_>>();
    assert_eq!(layout.stretch(5), 4..8, "aisles are after seats 4, 8 and 12");
    let expected = [vec![1], vec![2], vec![5], vec![4, 6], vec![14], vec![17]];
    assert_eq!([0, 3, 4, 5, 15, 16].map(beside), expected, "no neighbours over an aisle or a row");
}

#[test]
fn the_short_form_is_a_block_or_an_arc() {
    let short = |shape| Short {
        rows: " Y-AB, 9 - 10 ,C".into(),
        seats_per_row: 3,
        aisles_after: vec![2],
        category: category("Gold", 20),
        shape,
    };
    let block = short(Shape::Block).draft().expect("sound");
    let labels: Vec<&str> = block.rows.iter().map(|row| &*row.label).collect();
    assert_eq!(labels, ["Y", "Z", "AA", "AB", "9", "10", "C"]);
    let points = |row: &RowDraft| row.seats.iter().map(|seat| (seat.at.x, seat.at.y)).collect();
    let second: Vec<(i32, i32)> = points(&block.rows[1]);
    assert_eq!(second, [(-50, 90), (0, 90), (50, 90)]);
    assert_eq!(
        block.rows[0].seats.iter().map(|seat| seat.aisle_before).collect::<Vec<_>>(),
        [false, false, true]
    );
    let arc = short(Shape::Arc { radius: 100 }).draft().expect("sound");
    let first: Vec<(i32, i32)> = points(&arc.rows[0]);
    assert_eq!(first, [(-48, 88), (0, 100), (48, 88)]);
    assert_eq!(
        (arc.front_middle(), block.front_middle()),
        (Point { x: 0, y: 100 }, Point::default())
    );
}

#[test]
fn what_is_wrong_with_a_short_form_is_told() {
    let sound = Short {
        rows: "A-C".into(),
        seats_per_row: 10,
        aisles_after: Vec::new(),
        category: category("Gold", 20),
        shape: Shape::Block,
    };
    let rows = |rows: &str| Short { rows: rows.into(), ..sound.clone() };
    let none = "must be a label of capital letters or digits, or a range of such labels";
    for (short, expected) in [
        (rows(""), format!("rows: \"\" {none}")),
        (rows("A,,B"), format!("rows: \"\" {none}")),
        (rows("A-"), format!("rows: \"A-\" {none}")),
        (rows("a-c"), format!("rows: \"a-c\" {none}")),
        (rows("A-9"), format!("rows: \"A-9\" {none}")),
        (rows("01"), format!("rows: \"01\" {none}")),
        (rows("AAAAA"), format!("rows: \"AAAAA\" {none}")),
        (rows("C-A"), "rows: \"C-A\" is a reversed range".into()),
        (rows("A-ZZZZ"), "rows: must have at most 5000 rows".into()),
        (rows("1-999999"), "rows: must have at most 5000 rows".into()),
        (rows(&"A,".repeat(501)), "rows: must have at most 1000 bytes".into()),
        (
            rows("1-101").with(1_000),
            "seats_per_row: results in 101000 seats; a section can have at most 100000".into(),
        ),
        (sound.clone().with(0), "seats_per_row: must be 1 to 1000".into()),
        (sound.clone().with(u32::MAX), "seats_per_row: must be 1 to 1000".into()),
        (
            Short { aisles_after: vec![0, 10], ..sound.clone() },
            "aisles_after: 0 must be a seat number below seats_per_row; \
             aisles_after: 10 must be a seat number below seats_per_row"
                .into(),
        ),
        (
            Short { shape: Shape::Arc { radius: 100 }, ..sound.clone() },
            "radius: must be 160 to 500000 for this number of seats".into(),
        ),
    ] {
        assert_eq!(told(short.draft()), expected);
    }
}

impl Short {
    fn with(self, seats_per_row: u32) -> Self {
        Self { seats_per_row, ..self }
    }
}

fn read(text: &str) -> Result<Layout, Flaws> {
    Layout::new(&Draft::from_csv(text, Currency::parse("USD").expect("valid"))?)
}

#[test]
fn a_table_is_read_with_quotes_marks_spaces_and_without_coordinates() {
    let text = "\u{feff}seat,row,category,price,aisle_before,accessible\r\n\
                1,\"Box \"\"A\"\", left\",Gold,2000,,x\r\n\
                \r\n\
                2 ,\"Box \"\"A\"\", left \", Gold,,true,false\r\n\
                1,B,\"Tin\",0,1\r\n";
    let layout = read(text).expect("sound");
    assert_eq!(layout.seats(), 3);
    let second = layout.find("Box \"A\", left-2").expect("there");
    assert_eq!((layout.at(second), layout.price(second)), (Point { x: 50, y: 0 }, usd(2_000)));
    assert_eq!(layout.neighbours(second).count(), 0, "an aisle is before it");
    assert!(layout.flags(0).accessible && !layout.flags(1).accessible);
    assert_eq!(
        (layout.row(2), layout.at(2), layout.price(2)),
        ("B", Point { x: 0, y: 90 }, usd(0))
    );
}

#[test]
fn a_table_that_a_spreadsheet_has_written_back_is_read() {
    let mut draft = arc("A-C", 8);
    draft.rows[0].seats[1].flags.accessible = true;
    draft.rows[1].seats[3].flags.restricted_view = true;
    let layout = Layout::new(&draft).expect("sound");
    let ours = draft.to_csv();
    assert!(ours.contains(",true,"), "{ours}");
    // Flags in capitals, empty flags filled in, a line of commas after each row, a column too many.
    let theirs =
        ours.replace("true", "TRUE").replace(",,", ",FALSE,").replace('\n', ",\r\n,,,,,\r\n");
    let theirs = format!(",,,,,\r\n\r\n{theirs},,\r\n , ,\r\n").replace("row,seat", "Row,SEAT");
    assert_eq!(read(&theirs).map_err(|flaws| flaws.to_string()), Ok(layout));
    for word in ["True", "tRuE", "X", "1"] {
        let text = format!("row,seat,category,price,companion\nA,1,Gold,9,{word}");
        assert!(read(&text).expect("sound").flags(0).companion, "{word}");
    }
}

#[test]
fn many_wrong_categories_of_many_seats_are_found_in_one_pass() {
    let mut draft = sound();
    let seat = draft.rows[0].seats[0].clone();
    draft.rows[0].seats.resize(100_000, seat);
    draft.categories.extend((0..50_000).map(|_| category("", -1)));
    let begun = std::time::Instant::now();
    let flaws = Layout::new(&draft).expect_err("all of them are wrong");
    assert!(flaws.count > 100_000, "{}", flaws.count);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn what_is_wrong_with_a_table_names_the_line() {
    let head = "row,seat,category,price";
    for (text, expected) in [
        (String::new(), "csv: is empty"),
        (
            head.into(),
            "rows: must be 1 to 5000 rows; the layout has 0; categories: must be 1 to \
            64 categories",
        ),
        ("row,seat,price".into(), "line 1, columns: column \"category\" is missing"),
        (format!("{head},row"), "line 1, columns: duplicate column \"row\""),
        (
            format!("{head},Color"),
            "line 1, columns: unknown column \"Color\", expected one of row, seat, category, price",
        ),
        (format!("{head},x"), "line 1, columns: \"x\" and \"y\" must be used together"),
        (
            format!("{head}\nA,1,Gold,"),
            "line 2, row \"A\", seat \"1\", price: is missing: no earlier line",
        ),
        (format!("{head}\nA,1,Gold,9.50"), "line 2, row \"A\", seat \"1\", price: must be a whole"),
        (
            format!("{head}\nA,1,Gold,9\n\nA,2,Gold,8"),
            "line 4, row \"A\", seat \"2\", price: category \"Gold\" has the price 9 in an \
             earlier line",
        ),
        (
            format!("{head}\nA,1,Gold,9,9"),
            "line 2, row \"A\", seat \"1\", csv: field 5 of the line belongs to no named column",
        ),
        (
            format!(",,\n\n{head},,\n,,,,\nA,1,Gold,9,,\n,,,,\nA,2,Gold,9,,x"),
            "line 7, row \"A\", seat \"2\", csv: field 6 of the line belongs to no named column",
        ),
        (
            format!("\n{head},,no"),
            "line 2, columns: unknown column \"no\", expected one of row, \
            seat, category, price",
        ),
        (format!("{head}\n,,,\n,1,Gold,9"), "line 3, row \"\", row: must be 1 to 32 characters"),
        (format!("{head}\nA"), "line 2, row \"A\", seat \"\", category: is missing"),
        (
            format!("{head},x,y\nA,1,Gold,9,1.5,"),
            "line 2, row \"A\", seat \"1\", x: must be a whole number; \
             line 2, row \"A\", seat \"1\", y: must be a whole number",
        ),
        (
            format!("{head},companion\nA,1,Gold,9,maybe"),
            "line 2, row \"A\", seat \"1\", companion: must be true or false",
        ),
        (
            format!("{head}\nA,1,Gold,9\n\"A\",\"1\",Gold,9"),
            "line 3, row \"A\", seat \"1\", number: duplicate number; seat 1 of the row has the \
             same one",
        ),
        (
            format!("{head}\nA,1,Gold,9\nB,1,Gold,9\nA,2,Gold,9"),
            "line 4, row \"A\", row: duplicate label; row number 1 has the same one",
        ),
        (
            format!("{head}\nA,1,Gold,9\nB,\"1\n\",Gold,9\nB,2\0,Gold,9"),
            "line 5, row \"B\", seat \"2\\0\", number: must be 1 to 8 ASCII letters and digits",
        ),
        (
            format!("{head}\nA,1,Gold,9\n\"B,1,Gold,9\nC,1,Gold,9\n"),
            "line 3, row \"B,1,Gold,9\\nC,1,Gold,9\", seat \"\", category: is missing",
        ),
    ] {
        let told = told(read(&text));
        assert!(told.starts_with(expected), "{told}\n  not {expected}");
    }
}

#[test]
fn i9_a_table_is_read_no_further_than_its_limits() {
    let many = |count: usize, line: fn(usize) -> String| {
        let lines: Vec<String> = (0..count).map(line).collect();
        told(read(&format!("row,seat,category,price\n{}", lines.join("\n"))))
    };
    let seats = many(SEATS_MAX + 1, |at| format!("{},{},G,1", at / 1_000, at % 1_000));
    assert_eq!(seats, "seats: must be at most 100000 seats");
    let rows = many(ROWS_MAX + 1, |at| format!("{at},1,G,1"));
    assert_eq!(rows, "line 5002, row \"5000\", seat \"1\", rows: must be at most 5000 rows");
    let categories = many(70, |at| format!("A,{at},G{at},1"));
    let expected = "categories: must be 1 to 64 categories; the layout has 65";
    assert!(categories.starts_with(expected), "{categories}");
}

#[test]
fn a_layout_survives_every_form_it_is_written_in() {
    let mut draft = arc("A-F", 20);
    draft.categories.push(category("Wheels, \"2\"", 0));
    let seat = &mut draft.rows[2].seats[5];
    seat.category = "Wheels, \"2\"".into();
    seat.flags = Flags { accessible: true, companion: false, restricted_view: true };
    draft.rows[2].seats[6].flags.companion = true;
    let layout = Layout::new(&draft).expect("sound");
    assert_eq!(layout.draft(), draft);
    assert_eq!(read(&draft.to_csv()).expect("sound"), layout);
    draft.focal = Some(Point { x: 3, y: -4 });
    let moved = Layout::new(&draft).expect("sound");
    assert_eq!(moved.draft(), draft);
    assert_ne!(moved.distance(0), layout.distance(0));
}

proptest! {
    #[test]
    fn whatever_is_read_as_a_table_is_refused_or_survives(
        lines in proptest::collection::vec("[AB]{0,2},[1-3]{0,2},[GT]{1,2},[0-9\"\r]{0,2}", 0..8),
    ) {
        if let Ok(layout) = read(&format!("row,seat,category,price\n{}", lines.join("\n"))) {
            prop_assert_eq!(read(&layout.draft().to_csv()), Ok(layout));
        }
    }

    #[test]
    fn no_text_and_no_bytes_make_it_panic(text in ".*", bytes in any::<Vec<u8>>()) {
        let short = Short {
            rows: text.clone(),
            seats_per_row: 1,
            aisles_after: Vec::new(),
            category: category("Gold", 20),
            shape: Shape::Block,
        };
        let _ = short.draft();
        let _ = read(&text);
        let _ = read(&format!("row,seat,category,price\n{text}"));
        let _ = Taken::from_bytes(&bytes);
    }
}
