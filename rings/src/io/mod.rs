//! Xen's public structures, byte for byte, and nothing else: no behaviour, no memory access.
//!
//! | module | Xen header |
//! |---|---|
//! | [`xs_wire`] | io/xs_wire.h |

pub mod xs_wire;
