//! Money: an integer of minor units (cents, yen) with its currency, never a float.

use std::fmt;

/// An ISO 4217 currency code: three capital letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads three ASCII letters, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 3] = text.as_bytes().try_into().ok()?;
        letters
            .iter()
            .all(u8::is_ascii_alphabetic)
            .then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The code, such as `USD`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII letters")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount in minor units of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// The amount, in minor units.
    pub minor: i64,
    /// What it is an amount of.
    pub currency: Currency,
}

impl Money {
    /// The highest price of one seat, in minor units: with [`SEATS_PER_BOOKING_MAX`] seats the total
    /// stays below 2^53, where every JSON reader still counts exactly.
    ///
    /// [`SEATS_PER_BOOKING_MAX`]: crate::event::SEATS_PER_BOOKING_MAX
    pub const UNIT_PRICE_MAX: i64 = 100_000_000_000;

    /// This amount `count` times; `None` when it does not fit.
    #[must_use]
    pub fn times(self, count: u32) -> Option<Self> {
        let minor = self.minor.checked_mul(i64::from(count))?;
        Some(Self { minor, ..self })
    }

    /// The sum; `None` when it does not fit or the currencies differ.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        let same = self.currency == other.currency;
        let minor = same.then(|| self.minor.checked_add(other.minor))??;
        Some(Self { minor, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_never_wraps_and_never_mixes_currencies() {
        let usd = |minor| Money { minor, currency: Currency::parse("usd").expect("valid") };
        let eur = Money { minor: 1, currency: Currency::parse("EUR").expect("valid") };
        assert_eq!(usd(1250).times(4), Some(usd(5000)));
        assert_eq!(usd(1).plus(usd(2)), Some(usd(3)));
        assert_eq!(usd(1).plus(eur), None);
        assert_eq!(usd(i64::MAX).plus(usd(1)), None);
        assert_eq!(usd(i64::MAX).times(2), None);
        assert_eq!(Currency::parse("EURO"), None);
        assert_eq!(Currency::parse("E1R"), None);
    }
}
