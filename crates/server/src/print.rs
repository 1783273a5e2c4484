//! What commands print on standard output.
//!
//! A reader that closes early, such as `head`, is no error: the command continues, and its exit
//! code reports the result. Other failures to print are errors.

use crate::Failure;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints `text` as it is.
pub fn text(text: impl Display) -> Result<(), Failure> {
    to(&mut io::stdout().lock(), &text)
}

/// Prints `text` and the end of the line.
pub fn line(text: impl Display) -> Result<(), Failure> {
    self::text(format_args!("{text}\n"))
}

fn to(reader: &mut impl Write, text: &impl Display) -> Result<(), Failure> {
    match write!(reader, "{text}").and_then(|()| reader.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new("writing to standard output", error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_gone_is_no_error_and_a_full_disk_is_one() {
        to(&mut Broken(ErrorKind::BrokenPipe), &"text").expect("nobody wants to know");
        let failure = to(&mut Broken(ErrorKind::StorageFull), &"text").expect_err("it is lost");
        assert!(failure.to_string().starts_with("writing to standard output: "), "{failure}");
        let mut all = Vec::new();
        to(&mut all, &"text").expect("it is taken");
        assert_eq!(all, b"text");
    }
}
