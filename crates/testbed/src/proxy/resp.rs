//! Counts the commands in what a Redis client sends.

/// The commands of one connection, which may be cut anywhere into chunks.
#[derive(Default)]
pub(super) struct Commands {
    /// The beginning of a command whose end has not come yet.
    rest: Vec<u8>,
}

impl Commands {
    /// The commands that end in `chunk`; 1 if it is not RESP.
    pub(super) fn count(&mut self, chunk: &[u8]) -> usize {
        self.rest.extend_from_slice(chunk);
        let mut count = 0;
        while !self.rest.is_empty() {
            match command_length(&self.rest) {
                Length::Known(length) => {
                    self.rest.drain(..length);
                    count += 1;
                }
                Length::Incomplete => break,
                Length::NotResp => {
                    self.rest.clear();
                    count += 1;
                }
            }
        }
        count
    }

    /// Whether a command has begun and not ended.
    pub(super) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }
}

enum Length {
    Known(usize),
    Incomplete,
    NotResp,
}

/// The bytes of the array of bulk strings that `bytes` begins with.
fn command_length(bytes: &[u8]) -> Length {
    let (mut position, arguments) = match header(bytes, b'*') {
        Ok(header) => header,
        Err(length) => return length,
    };
    for _ in 0..arguments {
        let (header_length, length) = match header(&bytes[position..], b'$') {
            Ok(header) => header,
            Err(length) => return length,
        };
        position += header_length + length + 2;
        if position > bytes.len() {
            return Length::Incomplete;
        }
    }
    Length::Known(position)
}

/// The bytes of a line of `mark` and a number, and that number.
fn header(bytes: &[u8], mark: u8) -> Result<(usize, usize), Length> {
    match bytes.first() {
        None => return Err(Length::Incomplete),
        Some(first) if *first != mark => return Err(Length::NotResp),
        Some(_) => {}
    }
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").ok_or(Length::Incomplete)?;
    let number = std::str::from_utf8(&bytes[1..end]).ok().and_then(|text| text.parse().ok());
    Ok((end + 2, number.ok_or(Length::NotResp)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_where_they_end() {
        let ping = b"*1\r\n$4\r\nPING\r\n";
        let get = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n";
        let mut commands = Commands::default();
        assert_eq!(commands.count(&[&ping[..], get, ping].concat()), 3);
        for byte in &get[..get.len() - 1] {
            assert_eq!(commands.count(&[*byte]), 0);
            assert!(commands.has_rest());
        }
        assert_eq!(commands.count(b"\n"), 1);
        assert!(!commands.has_rest());
    }

    #[test]
    fn what_is_not_resp_counts_as_one() {
        assert_eq!(Commands::default().count(b"Q\0\0\0\x10SELECT 1;\0"), 1);
        assert_eq!(Commands::default().count(b"*x\r\n"), 1);
    }
}
