use super::*;

const PRODUCTION: Environment = Environment::Production;
const DEVELOPMENT: Environment = Environment::Development;

#[test]
fn a_key_is_read_as_it_was_made_and_only_where_it_belongs() {
    for environment in [PRODUCTION, DEVELOPMENT] {
        let (key, kept) = new_key(environment);
        assert!(is_key(&key));
        assert_eq!(read(&key, environment), Some(kept.hash));
        assert_eq!(kept.hint, key[key.len() - 4..]);
        let other = if environment == PRODUCTION { DEVELOPMENT } else { PRODUCTION };
        assert_eq!(read(&key, other), None);
    }
    assert!(new_key(PRODUCTION).0.starts_with("rsvx_live_"));
    assert_eq!(new_key(DEVELOPMENT).0.len(), "rsvx_test_".len() + 43 + 6);
    assert_ne!(new_key(DEVELOPMENT).0, new_key(DEVELOPMENT).0);
}

#[test]
fn a_typo_is_noticed_wherever_it_is() {
    let (key, _) = new_key(DEVELOPMENT);
    for at in 0..key.len() {
        let mut typo = key.clone().into_bytes();
        typo[at] = if typo[at] == b'a' { b'b' } else { b'a' };
        let typo = String::from_utf8(typo).expect("letters");
        assert_eq!(read(&typo, DEVELOPMENT), None, "{typo}");
    }
    for forged in [&key[..key.len() - 1], &format!("{key}0"), "rsvx_", "rsvx_test_", ""] {
        assert_eq!(read(forged, DEVELOPMENT), None, "{forged}");
    }
    let wide = format!("rsvx_test_{}", "\u{e9}".repeat(25));
    assert_eq!(read(&wide, DEVELOPMENT), None, "no letters of ours, cut in the middle");
}

/// The form is public: programs that look for secrets in code know it.
#[test]
fn the_checksum_is_crc_32_in_letters_and_digits() {
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    assert_eq!(checksum("123456789"), "3jZRME");
}

#[test]
fn all_letters_and_digits_are_as_likely() {
    let mut times = [0_u32; 62];
    for _ in 0..2_000 {
        let (key, _) = new_key(DEVELOPMENT);
        for byte in key["rsvx_test_".len()..][..SECRET_CHARS].bytes() {
            let at = DIGITS.iter().position(|digit| *digit == byte).expect("it is one of them");
            times[at] += 1;
        }
    }
    // 86,000 draws: 1,387 of each, with a deviation of 37.
    assert!(times.iter().all(|times| (1_150..1_650).contains(times)), "{times:?}");
}
