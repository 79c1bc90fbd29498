//! Who holds what, as text for whoever looks on: the grants, and how it is handed over. What the
//! lines look like is said in [`Held`](crate::proto::Held).

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use rings::grant::{GrantMem, GrantPage};
use rings::io::grant_table::{GrantEntry, GrantFlags, GrantType};
use rings::sync::Ordering;
use rings::{DomId, Gref};

use crate::mapping::sealed_memfd;

/// Grants in `table` of domain `of`, that permit anything.
pub(super) fn grants(of: DomId, table: &GrantPage, out: &mut String) {
    for gref in (0..table.entries()).map(Gref) {
        let entry = GrantEntry::from_u64(table.load(gref, Ordering::Relaxed));
        if entry.flags.kind() != GrantType::PermitAccess {
            continue;
        }
        let access = if entry.flags.contains(GrantFlags::READONLY) { "ro" } else { "rw" };
        let used = if entry.flags.in_use() { "mapped" } else { "-" };
        let GrantEntry { domid, frame, .. } = entry;
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{of}\t{gref}\t{domid}\t{}\t{access}\t{used}", frame.0);
    }
}

/// The text in memory of its own, and its length.
pub(super) fn hand_over(text: &str) -> io::Result<(OwnedFd, u32)> {
    // A memfd of no bytes cannot be mapped, but may well be read.
    let fd = sealed_memfd("pvlab-inspect", text.len())?;
    let mut file = std::fs::File::from(fd);
    file.write_all(text.as_bytes())?;
    let len = u32::try_from(text.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    Ok((file.into(), len))
}
