//! A permission as it travels: a letter and a domid, `n0`, `r1`, `b7`. The first of a node's
//! permissions names the owner and what everybody not listed may do; the others one domain each.
//! Checking them is the server's business.

use std::fmt;
use std::str::FromStr;

use crate::DomId;

bitflags::bitflags! {
    /// What a permission allows (`XS_PERM_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct Access: u8 {
        /// Read value, children and permissions.
        const READ = 1;
        /// Write the value, make and remove children.
        const WRITE = 2;
    }
}

/// One entry of a node's permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Perm {
    /// What is allowed.
    pub access: Access,
    /// To whom; in the first entry, the owner.
    pub domid: DomId,
}

impl Perm {
    /// Nothing: `n<domid>`.
    #[must_use]
    pub const fn none(domid: DomId) -> Self {
        Self { access: Access::empty(), domid }
    }

    /// Reading: `r<domid>`.
    #[must_use]
    pub const fn read(domid: DomId) -> Self {
        Self { access: Access::READ, domid }
    }

    /// Writing: `w<domid>`.
    #[must_use]
    pub const fn write(domid: DomId) -> Self {
        Self { access: Access::WRITE, domid }
    }

    /// Both: `b<domid>`.
    #[must_use]
    pub const fn both(domid: DomId) -> Self {
        Self { access: Access::all(), domid }
    }
}

impl fmt::Display for Perm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match (self.access.contains(Access::READ), self.access.contains(Access::WRITE))
        {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        };
        write!(f, "{letter}{}", self.domid)
    }
}

/// The text is not a letter of `nrwb` and a decimal domid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a permission: one of n, r, w, b and a domid was expected")]
pub struct NotAPerm;

impl FromStr for Perm {
    type Err = NotAPerm;

    fn from_str(text: &str) -> Result<Self, NotAPerm> {
        let access = match text.as_bytes().first() {
            Some(b'n') => Access::empty(),
            Some(b'r') => Access::READ,
            Some(b'w') => Access::WRITE,
            Some(b'b') => Access::all(),
            _ => return Err(NotAPerm),
        };
        let digits = &text[1..];
        // parse() alone would take "+1".
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotAPerm);
        }
        let domid = digits.parse().map_err(|_| NotAPerm)?;
        Ok(Self { access, domid: DomId(domid) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_there_and_back() {
        for text in ["n0", "r1", "w32752", "b65535"] {
            assert_eq!(text.parse::<Perm>().unwrap().to_string(), text);
        }
        for text in ["", "n", "x1", "r-1", "r+1", "r65536", "r 1", "r1 ", "1", "é1"] {
            assert_eq!(text.parse::<Perm>(), Err(NotAPerm), "{text:?}");
        }
    }
}
