//! The page a guest's console shares with xenconsoled (`io/console.h`, `struct xencons_interface`).
//!
//! Here: where things are in it and how an index becomes an offset. Not here: moving bytes, and
//! the daemon's limits.
//!
//! ```text
//!    0  in[1024]    bytes to the guest
//! 1024  out[2048]   bytes from the guest
//!
//!         0     1     2     3     4     5     6     7   octet
//!      +-----+-----+-----+-----+-----+-----+-----+-----+
//! 3072 | in_cons               | in_prod               |   the guest consumes, xenconsoled produces
//!      +-----+-----+-----+-----+-----+-----+-----+-----+
//! 3080 | out_cons              | out_prod              |   xenconsoled consumes, the guest produces
//!      +-----+-----+-----+-----+-----+-----+-----+-----+
//! 3088 | cn  | pad             |                           `cn` is [`CONNECTION`]
//!      +-----+-----+-----+-----+
//! ```
//!
//! Two rings of bytes, not of slots. The indices run freely and wrap at 2^32; `prod - cons` bytes
//! wait, and a ring is full when that is its size. There is no event index: whoever moves one of
//! these indices sends an event.
//!
//! These are offsets and not a structure, because the page belongs to two domains at once and no
//! reference into it could be sound.

use crate::PAGE_SIZE;

/// Offset of the ring of bytes to the guest (`in`).
pub const IN: usize = 0;
/// Bytes of that ring.
pub const IN_SIZE: usize = 1024;
/// Offset of the ring of bytes from the guest (`out`).
pub const OUT: usize = IN + IN_SIZE;
/// Bytes of that ring.
pub const OUT_SIZE: usize = 2048;

/// Offset of the u32 index up to which the guest has read `in`.
pub const IN_CONS: usize = OUT + OUT_SIZE;
/// Offset of the u32 index up to which xenconsoled has written `in`.
pub const IN_PROD: usize = IN_CONS + 4;
/// Offset of the u32 index up to which xenconsoled has read `out`.
pub const OUT_CONS: usize = IN_PROD + 4;
/// Offset of the u32 index up to which the guest has written `out`.
pub const OUT_PROD: usize = OUT_CONS + 4;

/// Offset of one octet that says whether anybody reads `out`: [`CONNECTED`] or [`DISCONNECTED`].
///
/// New in Xen 4.21, whose toolstack starts it as `DISCONNECTED`. A page of an older Xen has zero
/// here, which says `CONNECTED`: what every guest assumed before.
pub const CONNECTION: usize = OUT_PROD + 4;
/// [`CONNECTION`]: xenconsoled serves this ring (`XENCONSOLE_CONNECTED`).
pub const CONNECTED: u8 = 0;
/// [`CONNECTION`]: nobody does; a guest need not wait for room (`XENCONSOLE_DISCONNECTED`).
pub const DISCONNECTED: u8 = 1;

/// Octets of the structure up to Xen 4.20, without [`CONNECTION`].
pub const SIZE_BEFORE_4_21: usize = CONNECTION;
/// Octets of the structure since Xen 4.21: one more field, rounded up to the size of an index.
pub const SIZE: usize = CONNECTION + 4;

/// Place within `in` of a free-running index (`MASK_XENCONS_IDX`).
pub const fn mask_in(index: u32) -> usize {
    index as usize & (IN_SIZE - 1)
}

/// Place within `out` of a free-running index (`MASK_XENCONS_IDX`).
pub const fn mask_out(index: u32) -> usize {
    index as usize & (OUT_SIZE - 1)
}

// Masking needs powers of two; the rest is arithmetic above, checked against Xen's numbers.
const _: () = {
    assert!(IN_SIZE.is_power_of_two() && OUT_SIZE.is_power_of_two());
    assert!(IN_CONS == 3072 && OUT_PROD == 3084 && CONNECTION == 3088 && SIZE <= PAGE_SIZE);
};
