//! Booking tokens: proof of whose a booking is, for buyers without an account.
//!
//! A token is the HMAC-SHA256 of the booking's id and its buyer's, by a key that is derived from the
//! signing key of the installation and is good for nothing else. Nothing is stored. When the buyer of a
//! booking is another one, or the signing key is replaced, earlier tokens of the booking are over.

use engine::{Booking, Fault};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use secrecy::{ExposeSecret, SecretString};

/// The longest booking token that is looked at, in bytes; ours have 43.
pub const TOKEN_BYTES_MAX: usize = 200;
/// What the key is derived for.
const LABEL: &[u8] = b"reservix booking tokens";
const ALGORITHM: Algorithm = Algorithm::HS256;

/// Makes and checks booking tokens.
pub struct BookingTokens {
    signing: EncodingKey,
    checking: DecodingKey,
}

impl BookingTokens {
    /// Tokens by a key that is derived from `secret`, the one that all instances have.
    pub fn new(secret: &SecretString) -> Self {
        let secret = EncodingKey::from_secret(secret.expose_secret().as_bytes());
        let key = crypto::sign(LABEL, &secret, ALGORITHM).expect("a secret signs with HMAC");
        let (signing, checking) =
            (EncodingKey::from_secret(key.as_bytes()), DecodingKey::from_secret(key.as_bytes()));
        Self { signing, checking }
    }

    /// The token of a booking and its buyer: 43 characters of base64url, without padding.
    pub fn of(&self, booking: &Booking) -> Result<String, Fault> {
        let token = crypto::sign(&message(booking), &self.signing, ALGORITHM);
        token.map_err(|error| Fault::Corrupt { what: format!("signing a booking token: {error}") })
    }

    /// Whether it is the token of this booking and its buyer, compared in constant time.
    pub fn is_of(&self, token: &str, booking: &Booking) -> bool {
        crypto::verify(token, &message(booking), &self.checking, ALGORITHM).unwrap_or(false)
    }
}

fn message(booking: &Booking) -> Vec<u8> {
    [booking.booking_id.as_bytes().as_slice(), booking.user_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{BookingId, Currency, EventId, Item, Money, SectionId, Shard, Timestamp, UserId};

    fn booking(number: u64, buyer: u64) -> Booking {
        let (at, shard) = (Timestamp::from_unix_ms(0), Shard::pick(1));
        let item = Item {
            section_id: SectionId::new(at, shard, 1),
            section_name: "A".into(),
            seats: 1,
            seat_names: Vec::new(),
            unit_price: Money { minor: 1, currency: Currency::parse("USD").expect("a currency") },
        };
        let whose = (UserId::new(at, shard, buyer), EventId::new(at, shard, 1));
        Booking::held(BookingId::new(at, shard, number), whose, [item], at, (1, 1))
    }

    fn tokens(secret: &str) -> BookingTokens {
        BookingTokens::new(&SecretString::from(secret.to_owned()))
    }

    #[test]
    fn a_token_is_of_one_booking_and_its_buyer_and_of_our_secret() {
        let ours = tokens("0123456789abcdef0123456789abcdef");
        let token = ours.of(&booking(1, 1)).expect("signs");
        assert_eq!(token.len(), 43);
        assert_eq!(ours.of(&booking(1, 1)).expect("signs"), token, "always the same");
        assert!(ours.is_of(&token, &booking(1, 1)));
        assert!(!ours.is_of(&token, &booking(2, 1)), "another booking");
        assert!(!ours.is_of(&token, &booking(1, 2)), "another buyer");
        let others = tokens("fedcba9876543210fedcba9876543210");
        assert!(!others.is_of(&token, &booking(1, 1)), "another secret");
        let cut = &token[..42];
        for forged in
            ["", "x", cut, &format!("{token}="), &format!("{token}AA"), "ü", &"A".repeat(43)]
        {
            assert!(!ours.is_of(forged, &booking(1, 1)), "{forged}");
        }
    }

    /// A key that signs access tokens must not sign bookings as well.
    #[test]
    fn the_key_is_not_the_one_of_access_tokens() {
        const SECRET: &str = "0123456789abcdef0123456789abcdef";
        let plain = EncodingKey::from_secret(SECRET.as_bytes());
        let token = crypto::sign(&message(&booking(1, 1)), &plain, ALGORITHM).expect("signs");
        assert!(!tokens(SECRET).is_of(&token, &booking(1, 1)));
    }
}
