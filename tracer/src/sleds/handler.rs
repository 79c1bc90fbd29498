//! What a patched sled calls: one record into the thread's buffer, in assembly, since whatever it called
//! might have a sled itself. It does what `recorder::thread` does, with the same words of the same buffer.
//! While it does, its thread has no buffer: what a signal handler calls in between is left out.
//!
//! A sled stands where a function begins and where it ends, so any argument or result may be in a register,
//! and a tail call's target too: only r10, which carries the function's number, and the flags are spoilt.
//! The call that `mcount` is comes from the compiler, which expects it to spoil what calls may.

use std::arch::{asm, global_asm, naked_asm};

use crate::format::buffer::{RECORDS_AT, at};
use crate::format::record::kind;
use crate::recorder::switch::SWITCH;

// A thread's buffer, as the handlers find it without a call, and as `recorder::base` has it.
global_asm!(
    ".pushsection .tbss,\"awT\",@nobits",
    ".balign 8",
    ".hidden tracer_sled_base",
    ".globl tracer_sled_base",
    "tracer_sled_base: .zero 8",
    ".hidden tracer_sled_mask",
    ".globl tracer_sled_mask",
    "tracer_sled_mask: .zero 8",
    ".hidden tracer_sled_limit",
    ".globl tracer_sled_limit",
    "tracer_sled_limit: .zero 8",
    ".hidden tracer_sled_seen",
    ".globl tracer_sled_seen",
    "tracer_sled_seen: .zero 8",
    ".popsection",
);

/// The calling thread's buffer; null if it has none, and while an event is being written.
#[inline(always)]
pub(crate) fn base() -> *mut u8 {
    let base;
    // SAFETY: reads this thread's own word, which is defined above.
    unsafe {
        asm!("mov {base}, qword ptr fs:[tracer_sled_base@tpoff]", base = out(reg) base,
            options(nostack, preserves_flags, readonly));
    }
    base
}

/// Says what [`base`] is from now on.
#[inline(always)]
pub(crate) fn set_base(base: *mut u8) {
    // SAFETY: stores into this thread's own word, which is defined above.
    unsafe {
        asm!("mov qword ptr fs:[tracer_sled_base@tpoff], {base}", base = in(reg) base,
            options(nostack, preserves_flags));
    }
}

/// Says how many records the calling thread's buffer takes, before [`set_base`] says where it is.
pub(crate) fn set_limits(mask: u64, limit: u64) {
    // SAFETY: stores into this thread's own two words, which are defined above.
    unsafe {
        asm!(
            "mov qword ptr fs:[tracer_sled_mask@tpoff], {mask}",
            "mov qword ptr fs:[tracer_sled_limit@tpoff], {limit}",
            mask = in(reg) mask,
            limit = in(reg) limit,
            options(nostack, preserves_flags),
        );
    }
}

/// Says what the switch's word was when the calling thread recorded that recording goes on.
pub(crate) fn set_seen(on: u32) {
    // SAFETY: stores into this thread's own word, which is defined above.
    unsafe {
        asm!("mov dword ptr fs:[tracer_sled_seen@tpoff], {on:e}", on = in(reg) on,
            options(nostack, preserves_flags));
    }
}

macro_rules! handler {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[unsafe(naked)]
        pub(super) unsafe extern "C" fn $name() {
            naked_asm!(
                "push r11",
                "mov r11d, dword ptr [rip + {switch}]",
                "test r11d, r11d",
                "jz 9f",
                // Switched on anew: what this thread records first says so.
                "cmp r11d, dword ptr fs:[tracer_sled_seen@tpoff]",
                "jne 9f",
                "mov r11, qword ptr fs:[tracer_sled_base@tpoff]",
                "test r11, r11",
                "jz 9f",
                "mov qword ptr fs:[tracer_sled_base@tpoff], 0",
                "push rax",
                "push rcx",
                "push rdx",
                "mov rcx, qword ptr [r11 + {cursor}]",
                "cmp rcx, qword ptr fs:[tracer_sled_limit@tpoff]",
                "jae 7f",
                "and rcx, qword ptr fs:[tracer_sled_mask@tpoff]",
                "shl rcx, 4",
                "rdtsc",
                "shl rdx, 32",
                "or rax, rdx",
                "or r10d, {kind} << 24",
                "mov qword ptr [r11 + rcx + {records}], rax",
                "mov qword ptr [r11 + rcx + {records} + 8], r10",
                "inc qword ptr [r11 + {cursor}]",
                "8:",
                "mov qword ptr fs:[tracer_sled_base@tpoff], r11",
                "pop rdx",
                "pop rcx",
                "pop rax",
                "9:",
                "pop r11",
                "ret",
                "7:",
                "inc qword ptr [r11 + {lost}]",
                "jmp 8b",
                switch = sym SWITCH,
                cursor = const at::CURSOR,
                lost = const at::LOST,
                records = const RECORDS_AT,
                kind = const $kind,
            )
        }
    };
}

handler!(
    /// A function begins.
    entered,
    kind::FN_ENTER
);
handler!(
    /// A function returns: the sled jumped here in the place of its `ret`.
    left,
    kind::FN_EXIT
);
handler!(
    /// A function ends with a call of another.
    left_by_tail_call,
    kind::FN_TAIL
);

/// What the compiler calls at the beginning of each function if it is told to: entries only.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn mcount() {
    naked_asm!(
        "mov r11d, dword ptr [rip + {switch}]",
        "test r11d, r11d",
        "jz 9f",
        "cmp r11d, dword ptr fs:[tracer_sled_seen@tpoff]",
        "jne 9f",
        "mov r11, qword ptr fs:[tracer_sled_base@tpoff]",
        "test r11, r11",
        "jz 9f",
        "mov qword ptr fs:[tracer_sled_base@tpoff], 0",
        "mov rcx, qword ptr [r11 + {cursor}]",
        "cmp rcx, qword ptr fs:[tracer_sled_limit@tpoff]",
        "jae 7f",
        "and rcx, qword ptr fs:[tracer_sled_mask@tpoff]",
        "shl rcx, 4",
        // The address we return to, less where the program lies.
        "mov rsi, qword ptr [rsp]",
        "lea rdi, [rip + __ehdr_start]",
        "sub rsi, rdi",
        "shl rsi, 32",
        // The stack pointer / 16: of frames of which it is lower than now, none is there any more.
        "mov rdi, rsp",
        "shr rdi, 4",
        "and edi, 0xffffff",
        "or edi, {kind} << 24",
        "or rsi, rdi",
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "mov qword ptr [r11 + rcx + {records}], rax",
        "mov qword ptr [r11 + rcx + {records} + 8], rsi",
        "inc qword ptr [r11 + {cursor}]",
        "8:",
        "mov qword ptr fs:[tracer_sled_base@tpoff], r11",
        "9:",
        "ret",
        "7:",
        "inc qword ptr [r11 + {lost}]",
        "jmp 8b",
        switch = sym SWITCH,
        cursor = const at::CURSOR,
        lost = const at::LOST,
        records = const RECORDS_AT,
        kind = const kind::CALLED,
    )
}

/// Where the program lies in memory: what addresses of its functions are counted from.
pub(super) fn program() -> u64 {
    let start: u64;
    // SAFETY: takes an address that the linker defines, and touches nothing.
    unsafe {
        asm!("lea {start}, [rip + __ehdr_start]", start = out(reg) start,
            options(nostack, nomem, preserves_flags));
    }
    start
}
