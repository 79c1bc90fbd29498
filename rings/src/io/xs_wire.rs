//! xenstore on the wire and on its ring page: message header, types, error names, limits, offsets.
//!
//! Follows xs_wire.h. All numbers are in host order: both ends share a machine. What does not live
//! here: cutting a byte stream into messages and talking to a server ([`crate::store`]), and the
//! server (`rings-host`).

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `xsd_sockmsg`: what stands before every payload, in both directions.
///
/// ```text
///    0             4             8            12
/// +-------------+-------------+-------------+-------------+
/// | type        | req_id      | tx_id       | len         |   then len bytes of payload
/// +-------------+-------------+-------------+-------------+
/// ```
#[repr(C)]
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct XsdSockmsg {
    /// What is asked or answered: an [`XsdType`], once checked.
    pub r#type: u32,
    /// Chosen by the client, echoed in the reply; 0 in watch events.
    pub req_id: u32,
    /// The transaction the request belongs to; 0 is none.
    pub tx_id: u32,
    /// Bytes of payload that follow, at most [`XENSTORE_PAYLOAD_MAX`].
    pub len: u32,
}

impl XsdSockmsg {
    /// Bytes of a header.
    pub const SIZE: usize = size_of::<Self>();
}

const _: () = {
    assert!(size_of::<XsdSockmsg>() == 16);
    assert!(std::mem::offset_of!(XsdSockmsg, r#type) == 0);
    assert!(std::mem::offset_of!(XsdSockmsg, req_id) == 4);
    assert!(std::mem::offset_of!(XsdSockmsg, tx_id) == 8);
    assert!(std::mem::offset_of!(XsdSockmsg, len) == 12);
};

/// The transaction id that means "no transaction" (`XBT_NULL`).
pub const XBT_NULL: u32 = 0;

/// Most payload bytes one message may carry. A longer one costs the sender its connection.
pub const XENSTORE_PAYLOAD_MAX: usize = 4096;
/// Most bytes of a path that begins with `/`.
pub const XENSTORE_ABS_PATH_MAX: usize = 3072;
/// Most bytes of a path relative to the caller's `/local/domain/<domid>`.
pub const XENSTORE_REL_PATH_MAX: usize = 2048;

macro_rules! xsd_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// `xsd_sockmsg_type`, by Xen's names without the `XS_`.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(non_camel_case_types)]
        pub enum XsdType { $($(#[$doc])* $name = $value,)* }

        impl XsdType {
            /// Every type there is, in the order of its numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Xen's name, as logs and traces print it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The number on the wire.
            #[must_use]
            pub fn number(self) -> u32 {
                match self { $(Self::$name => $value,)* }
            }
        }

        /// The error is the number nobody knows.
        impl TryFrom<u32> for XsdType {
            type Error = u32;

            fn try_from(number: u32) -> Result<Self, u32> {
                match number { $($value => Ok(Self::$name),)* other => Err(other) }
            }
        }
    };
}

xsd_types! {
    /// Commands to the daemon itself; was DEBUG.
    CONTROL = 0,
    /// Names of a node's children.
    DIRECTORY = 1,
    /// Value of a node.
    READ = 2,
    /// Permissions of a node.
    GET_PERMS = 3,
    /// Asks to be told of changes at and below a path.
    WATCH = 4,
    /// Takes a watch back.
    UNWATCH = 5,
    /// Opens a transaction; the reply is its id in decimal.
    TRANSACTION_START = 6,
    /// Commits ("T") or discards ("F").
    TRANSACTION_END = 7,
    /// The toolstack makes a domain known.
    INTRODUCE = 8,
    /// The toolstack forgets a domain.
    RELEASE = 9,
    /// Home of a domid: `/local/domain/<domid>`.
    GET_DOMAIN_PATH = 10,
    /// Sets a value, and makes the node if it is missing.
    WRITE = 11,
    /// Makes an empty node if it is missing.
    MKDIR = 12,
    /// Removes a node and all below it.
    RM = 13,
    /// Replaces a node's permissions.
    SET_PERMS = 14,
    /// Sent by the server alone: a watch fired.
    WATCH_EVENT = 15,
    /// Sent by the server alone: the request failed.
    ERROR = 16,
    /// Is this domid known to the store?
    IS_DOMAIN_INTRODUCED = 17,
    /// The toolstack resumes a suspended domain.
    RESUME = 18,
    /// The toolstack lets one domain act for another.
    SET_TARGET = 19,
    /// Forgets all watches and transactions of the caller.
    RESET_WATCHES = 21,
    /// Names of children from an offset on, for lists that exceed one payload.
    DIRECTORY_PART = 22,
}

impl fmt::Display for XsdType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! xsd_errors {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// `xsd_errors`: the errors that exist. They travel as text, the name with a NUL behind.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum XsdError { $($(#[$doc])* $name,)* }

        impl XsdError {
            /// Every error there is, in the header's order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name that travels, without its NUL.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The error of that name; `None` if Xen has none of that name.
            #[must_use]
            pub fn from_name(name: &[u8]) -> Option<Self> {
                Self::ALL.iter().copied().find(|error| error.name().as_bytes() == name)
            }
        }
    };
}

xsd_errors! {
    /// The request or its path is malformed.
    EINVAL,
    /// The caller may not do this to this node.
    EACCES,
    /// This watch exists already.
    EEXIST,
    /// Not used by xenstored.
    EISDIR,
    /// No such node, watch or transaction.
    ENOENT,
    /// The domain's memory quota is used up.
    ENOMEM,
    /// A quota of the domain is used up, or the value is too long.
    ENOSPC,
    /// The store's data base is broken.
    EIO,
    /// Not used by xenstored.
    ENOTEMPTY,
    /// No such request.
    ENOSYS,
    /// Not used by xenstored.
    EROFS,
    /// A transaction is open already.
    EBUSY,
    /// The transaction conflicts with a change made meanwhile: do it again.
    EAGAIN,
    /// The domain is introduced already.
    EISCONN,
    /// The reply, or the request, exceeds a payload.
    E2BIG,
    /// Only the owner's domain or a privileged one may do this.
    EPERM,
}

impl fmt::Display for XsdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `xenstore_domain_interface`: byte offsets in the ring page a domain shares with xenstored.
pub mod ring {
    /// Bytes in each of the two rings (`XENSTORE_RING_SIZE`).
    pub const SIZE: u32 = 1024;
    /// Requests to the daemon, `SIZE` bytes.
    pub const REQ: usize = 0;
    /// Replies and watch events, `SIZE` bytes.
    pub const RSP: usize = 1024;
    /// The daemon's index into the requests.
    pub const REQ_CONS: usize = 2048;
    /// The domain's index into the requests.
    pub const REQ_PROD: usize = 2052;
    /// The domain's index into the replies.
    pub const RSP_CONS: usize = 2056;
    /// The daemon's index into the replies.
    pub const RSP_PROD: usize = 2060;
    /// What the daemon can do: `FEATURE_*` bits.
    pub const SERVER_FEATURES: usize = 2064;
    /// `CONNECTED` or `RECONNECT`.
    pub const CONNECTION: usize = 2068;
    /// One of `ERROR_*`.
    pub const ERROR: usize = 2072;
    /// Bytes of the whole structure.
    pub const INTERFACE_SIZE: usize = 2076;

    /// `server_features`: a domain may ask for a fresh connection.
    pub const FEATURE_RECONNECTION: u32 = 1;
    /// `server_features`: the `error` field is used.
    pub const FEATURE_ERROR: u32 = 2;

    /// `connection`: the steady state.
    pub const CONNECTED: u32 = 0;
    /// `connection`: a reconnect is under way.
    pub const RECONNECT: u32 = 1;

    /// `error`: none.
    pub const ERROR_NONE: u32 = 0;
    /// `error`: communication problem.
    pub const ERROR_COMM: u32 = 1;
    /// `error`: invalid ring index.
    pub const ERROR_RINGIDX: u32 = 2;
    /// `error`: protocol violation (payload too long).
    pub const ERROR_PROTO: u32 = 3;

    const _: () = {
        assert!(RSP == REQ + SIZE as usize && REQ_CONS == RSP + SIZE as usize);
        assert!(ERROR + 4 == INTERFACE_SIZE);
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_errors_survive_their_numbers_and_names() {
        for &ty in XsdType::ALL {
            assert_eq!(XsdType::try_from(ty.number()), Ok(ty));
        }
        assert_eq!(XsdType::try_from(20), Err(20), "RESTRICT was removed");
        assert_eq!(XsdType::try_from(23), Err(23));
        for &error in XsdError::ALL {
            assert_eq!(XsdError::from_name(error.name().as_bytes()), Some(error));
        }
        assert_eq!(XsdError::from_name(b"EWHAT"), None);
        assert_eq!(XsdType::DIRECTORY_PART.to_string(), "DIRECTORY_PART");
    }
}
