//! Grants: how one domain lets another touch single pages of its memory (grant_table.h, version 1).
//!
//! ```text
//!   granter                                        the other domain
//!   grant_access(domid, frame, ro)
//!      entry.domid, entry.frame, then flags   -->   map    pins the entry: GTF_reading|writing
//!                                                   copy   holds it for the length of a batch
//!   end_access(gref)
//!      in use?            -> StillInUse, the page may not be reused; ask again later
//!      flags -> 0 by compare-and-swap         -->   map and copy are refused from now on
//! ```
//!
//! A mapping is pinned in the entry itself, as Xen does it. A copy is held *per batch*: before it
//! looks at entries, the copying side makes its hold word odd, and even again when the batch is
//! done; `end_access` withdraws the entry first and then looks at the hold words of its table. Each
//! side writes its word, fences, and reads the other's, so at least one of them sees the other
//! (proved with loom in `tests/loom.rs`). It costs one fence for a batch instead of two locked
//! instructions for each grant.
//!
//! Where entries lie in memory is said here ([`Layout`]); whose memory it is, is `rings-host`'s.

mod copy;
mod entry;
mod hold;
mod pin;
mod table;

pub use crate::io::grant_table::GntStatus;
pub use copy::{CopyEngine, CopyOp};
pub use entry::{GrantMem, GrantPage, Layout, check};
pub use hold::{HOLD_LINES, Hold};
pub use pin::Pins;
pub use table::{GrantTable, StillInUse};
