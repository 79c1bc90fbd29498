//! The sleds of this program: found in the section in which the compiler lists them, and patched.
//!
//! A sled is eleven octets that do nothing, until two stores make a call of them; LLVM lays them out so
//! that the second, of two octets, switches it at once for every CPU that runs there meanwhile (compiler-rt,
//! `lib/xray/xray_x86_64.cpp`):
//!
//! ```text
//!   entry, tail   eb 09   nop...            ->   41 ba id id id id   e8 rel rel rel rel   (call)
//!   exit          c3 2e   nop...            ->   41 ba id id id id   e9 rel rel rel rel   (jmp)
//! ```

use std::arch::global_asm;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::mman::{ProtFlags, mprotect};

use super::handler;

// The linker's names for the ends of the section; nothing, where there is no such section.
global_asm!(
    ".weak __start_xray_instr_map",
    ".hidden __start_xray_instr_map",
    ".weak __stop_xray_instr_map",
    ".hidden __stop_xray_instr_map",
    ".pushsection .data.rel.ro.tracer_sleds,\"aw\"",
    ".balign 8",
    ".globl tracer_sled_map",
    ".hidden tracer_sled_map",
    "tracer_sled_map: .quad __start_xray_instr_map",
    ".quad __stop_xray_instr_map",
    ".popsection",
);

unsafe extern "C" {
    #[link_name = "tracer_sled_map"]
    static ENDS: [usize; 2];
}

/// An entry of the section, version 2: addresses are relative to where they stand.
#[repr(C)]
struct Entry {
    sled: isize,
    function: isize,
    kind: u8,
    _always: u8,
    version: u8,
    _pad: [u8; 13],
}

const _: () = assert!(size_of::<Entry>() == 32);

/// Octets of a sled.
const SLED: usize = 11;
/// `41 ba`: the first two of one that is patched.
const PATCHED: u16 = 0xba41;

/// Where a sled stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Entry,
    Exit,
    Tail,
}

/// A sled of this program.
#[derive(Clone, Copy, Debug)]
struct Sled {
    at: usize,
    kind: Kind,
    /// The number of its function, from 1 on.
    id: u32,
}

/// All sleds, and the functions they are in.
#[derive(Debug, Default)]
pub(super) struct Sleds {
    sleds: Vec<Sled>,
    /// Address of function `id - 1`.
    pub(super) functions: Vec<usize>,
}

impl Sleds {
    /// Those of this program; none, if the compiler put none in.
    pub(super) fn find() -> Self {
        // SAFETY: two words that are defined above, written by the dynamic linker before `main`.
        let [start, stop] = unsafe { ENDS };
        let count = (stop - start) / size_of::<Entry>();
        let first = std::ptr::with_exposed_provenance::<Entry>(start);
        let entries: &[Entry] = match count {
            0 => &[],
            // SAFETY: the section is an array of these, of which LLVM says its version in each; it is
            // mapped for reading as long as the program runs.
            _ => unsafe { std::slice::from_raw_parts(first, count) },
        };
        let mut all = Self::default();
        for entry in entries.iter().filter(|entry| entry.version == 2) {
            let at = std::ptr::from_ref(&entry.sled).addr().wrapping_add_signed(entry.sled);
            let function = std::ptr::from_ref(&entry.function).addr();
            let function = function.wrapping_add_signed(entry.function);
            let kind = match entry.kind {
                0 | 3 => Kind::Entry,
                1 => Kind::Exit,
                2 => Kind::Tail,
                _ => continue,
            };
            // The sleds of a function stand together.
            if all.functions.last() != Some(&function) {
                all.functions.push(function);
            }
            let id = u32::try_from(all.functions.len()).unwrap_or(u32::MAX);
            all.sleds.push(Sled { at, kind, id });
        }
        all
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sleds.len()
    }

    /// Makes calls of all of them. Other threads may run through them meanwhile.
    ///
    /// # Errors
    /// If this process may not write where it executes.
    pub(super) fn patch(&self) -> io::Result<()> {
        const PAGE: usize = 4096;
        let Some(low) = self.sleds.iter().map(|sled| sled.at).min() else { return Ok(()) };
        let high = self.sleds.iter().map(|sled| sled.at + SLED).max().unwrap_or(low);
        let (low, high) = (low / PAGE * PAGE, high.next_multiple_of(PAGE));
        let text = NonNull::new(std::ptr::with_exposed_provenance_mut(low));
        let text = text.ok_or(io::ErrorKind::InvalidData)?;
        let (read, write) = (ProtFlags::PROT_READ | ProtFlags::PROT_EXEC, ProtFlags::PROT_WRITE);
        // SAFETY: the pages are this program's own text, which stays readable and executable.
        unsafe { mprotect(text, high - low, read | write)? };
        self.sleds.iter().for_each(Sled::patch);
        // SAFETY: as above; they are as they were.
        unsafe { mprotect(text, high - low, read)? };
        Ok(())
    }
}

impl Sled {
    fn patch(&self) {
        let (target, opcode) = match self.kind {
            Kind::Entry => (handler::entered as *const () as usize, 0xe8),
            Kind::Exit => (handler::left as *const () as usize, 0xe9),
            Kind::Tail => (handler::left_by_tail_call as *const () as usize, 0xe8),
        };
        // A program is smaller than 2 GiB.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let distance = target.wrapping_sub(self.at + SLED) as u32;
        let mut tail = [0_u8; 9];
        tail[..4].copy_from_slice(&self.id.to_le_bytes());
        tail[4] = opcode;
        tail[5..].copy_from_slice(&distance.to_le_bytes());
        let sled: *mut u8 = std::ptr::with_exposed_provenance_mut(self.at);
        // SYNC sled is whole: with the Release store below.
        // SAFETY: the octets behind the first two of a sled, made writable by the caller; until the
        // first two are changed, nobody executes them.
        unsafe { std::ptr::copy_nonoverlapping(tail.as_ptr(), sled.wrapping_add(2), tail.len()) };
        // SAFETY: a sled is aligned to two octets, and its first two are only ever changed whole.
        let first = unsafe { AtomicU16::from_ptr(sled.cast()) };
        // SYNC sled is whole: with the copy above, for whoever executes the new first two: x86 keeps
        // stores in order.
        first.store(PATCHED, Ordering::Release);
    }
}
