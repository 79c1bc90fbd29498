//! How fast a guest may send, as the toolstack tells netback: the key `rate`. What netback makes of it is
//! netback's business.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::parse_size;

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
}

impl fmt::Display for Rate {
    /// As the store has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.bytes, self.usec)
    }
}

as_text!(Rate);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (bytes, usec) = text.split_once(',').ok_or_else(|| {
            "one value where two belong; use BYTES,USEC as in 1000000,1000, about 8 Gbit/s"
                .to_owned()
        })?;
        let bytes = match parse_size(bytes)? {
            0 => return Err("nothing could ever be sent; use 1 byte or more".to_owned()),
            bytes => bytes,
        };
        let (low, high) = Self::USEC;
        let usec = usec.parse().ok().filter(|usec| (low..=high).contains(usec));
        let usec = usec.ok_or_else(|| format!("no window; use {low} to {high} microseconds"))?;
        Ok(Self { bytes, usec })
    }
}
