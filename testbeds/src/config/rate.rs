//! How fast a guest may send, as the toolstack tells netback: the key `rate`. What netback makes of it is
//! netback's business.

use std::fmt;

use serde::{Deserialize, Serialize};

/// So many bytes in each window of so many microseconds, each queue for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// Bytes.
    pub bytes: u64,
    /// Microseconds.
    pub usec: u64,
}

impl Rate {
    /// The shortest and the longest window. Microseconds.
    pub const USEC: (u64, u64) = (10, 60_000_000);

    /// Bits of a second.
    #[must_use]
    pub fn bits_per_second(self) -> f64 {
        crate::units::float(self.bytes) * 8e6 / crate::units::float(self.usec)
    }
}

impl fmt::Display for Rate {
    /// As the store has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.bytes, self.usec)
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |part: &str| part.parse().map_err(|_| format!("{text} is no rate"));
        let (bytes, usec) = text.split_once(',').ok_or_else(|| format!("{text} is no rate"))?;
        Ok(Self { bytes: number(bytes)?, usec: number(usec)? })
    }
}
