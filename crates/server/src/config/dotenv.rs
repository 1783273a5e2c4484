//! Reading a `.env` file: `NAME=value` lines, comments and quotes.
//!
//! It accepts what shells, Compose and Python accept in such a file: words with spaces and JSON
//! lists need no quotes, and a `$` is a `$`, so a password is never expanded. Values are one line
//! long.

/// The pairs in `text`, in order; or what is wrong with it, without the values.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, Vec<String>> {
    let mut pairs = Vec::new();
    let mut errors = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        match pair(line.trim()) {
            Ok(found) => pairs.extend(found),
            Err(problem) => errors.push(format!("line {}: {problem}", index + 1)),
        }
    }
    if errors.is_empty() { Ok(pairs) } else { Err(errors) }
}

fn pair(line: &str) -> Result<Option<(String, String)>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("expected NAME=value")?;
    let name = name.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err("a name consists of letters, digits and underscores");
    }
    let quoted = value.trim_start();
    let (value, rest) = match quoted.chars().next() {
        Some('\'') => quoted[1..].split_once('\'').ok_or("the quote is not closed")?,
        Some('"') => return double_quoted(&quoted[1..]).map(|v| Some((name.to_owned(), v))),
        _ => (value[..comment_at(value)].trim(), ""),
    };
    after_quote(rest)?;
    Ok(Some((name.to_owned(), value.to_owned())))
}

/// Where the comment of an unquoted value begins: at a `#` after a space.
fn comment_at(value: &str) -> usize {
    let mut after_space = false;
    for (at, c) in value.char_indices() {
        if c == '#' && after_space {
            return at;
        }
        after_space = c.is_whitespace();
    }
    value.len()
}

/// The text up to the closing quote, with `\n`, `\"` and `\\` replaced.
fn double_quoted(text: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return after_quote(chars.as_str()).map(|()| value),
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\' | '$')) => value.push(c),
                _ => {
                    return Err("in double quotes, a backslash must be followed by n, \", $ or \\");
                }
            },
            c => value.push(c),
        }
    }
    Err("the quote is not closed")
}

fn after_quote(rest: &str) -> Result<(), &'static str> {
    let rest = rest.trim();
    let is_comment = rest.is_empty() || rest.starts_with('#');
    if is_comment { Ok(()) } else { Err("only a comment may follow a closing quote") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        for (line, value) in [
            ("A=1", "1"),
            ("export A = 1 ", "1"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("A=two words # and a comment", "two words"),
            ("A=pa$$w#rd", "pa$$w#rd"),
            ("A='pa # $HOME \\n' # x", "pa # $HOME \\n"),
            ("A=\"a \\\"b\\\" \\\\ # \\$\"", "a \"b\" \\ # $"),
            ("A=[\"http://a\", \"http://b\"]", "[\"http://a\", \"http://b\"]"),
            ("A=postgres://u:p@h/d?x=y", "postgres://u:p@h/d?x=y"),
        ] {
            assert_eq!(parse(line), Ok(vec![("A".into(), value.into())]), "{line}");
        }
        assert_eq!(parse("\u{feff}# only\r\n\r\n  # comments\n"), Ok(vec![]));
    }

    #[test]
    fn a_broken_line_is_named_without_its_value() {
        let errors = parse("A=1\nhunter2\nB-C=hunter2\nD='hunter2\nE=\"hunter2\" x").unwrap_err();
        assert_eq!(errors.len(), 4);
        assert!(errors[0].starts_with("line 2: "), "{errors:?}");
        assert!(!errors.concat().contains("hunter2"), "{errors:?}");
    }
}
