//! The most common passwords, which nobody may choose: they are tried first.
//!
//! The list is that of Django 5.2 (see its LICENSE beside it), of those that have as many characters as a
//! password must have, sorted, in lower case. It is part of the binary and takes no memory of its own.

/// One password a line, in the order of its bytes.
const LIST: &str = include_str!("common_passwords/list.txt");

/// For garde: refuses the most common passwords, in whatever case.
pub fn uncommon(password: &str, (): &()) -> garde::Result {
    if is_common(password) {
        return Err(garde::Error::new("must not be one of the most common passwords"));
    }
    Ok(())
}

fn is_common(password: &str) -> bool {
    let wanted = password.to_lowercase();
    let (mut from, mut to) = (0, LIST.len());
    // A line begins at `from`, and one ends before `to`.
    while from < to {
        let middle = from + (to - from) / 2;
        let begin = LIST.as_bytes()[from..middle].iter().rposition(|byte| *byte == b'\n');
        let begin = begin.map_or(from, |at| from + at + 1);
        let end = LIST.as_bytes()[begin..to].iter().position(|byte| *byte == b'\n');
        let end = end.map_or(to, |at| begin + at);
        match LIST[begin..end].cmp(&wanted) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => from = end + 1,
            std::cmp::Ordering::Greater => to = begin,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_found_and_nothing_beside_them() {
        let lines: Vec<_> = LIST.lines().collect();
        assert!(lines.len() > 8_000, "{}", lines.len());
        assert!(lines.is_sorted(), "it is searched");
        for line in &lines {
            assert!(is_common(line) && is_common(&line.to_uppercase()), "{line}");
            assert_eq!(line.to_lowercase(), **line);
            assert!(line.chars().count() >= 8, "{line} is refused as too short");
            let longer = format!("{line}\u{1}");
            assert!(!is_common(&longer), "{longer}");
        }
        for known in ["password", "Password1", "12345678", "qwertyuiop", "iloveyou1"] {
            assert!(is_common(known), "{known}");
        }
        for good in ["", "correct horse battery", "zzzzzzzzzzzzzzzzzzzzz", "\u{1}", "\u{10ffff}"] {
            assert!(!is_common(good), "{good}");
        }
    }
}
