//! Random bytes.

/// Random bytes that nobody can guess, without a call of the system for each.
pub fn random<const BYTES: usize>() -> [u8; BYTES] {
    store::random::random()
}
