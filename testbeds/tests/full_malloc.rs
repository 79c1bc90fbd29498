//! What the allocator of the C library sees of a guest and of its netback, from outside: as many calls
//! whether a run is short or long. The counting inside (`allocs_per_op`) is checked by `runs`.
//!
//! Needs `PVLAB_FULL=1` and a C compiler.

mod common;

use std::process::Command;

use common::Scratch;

/// Counts calls; the sum is written when the process ends.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
static unsigned long calls;
#define COUNT(type, name, params, args) \
    type name params { static type (*real) params; \
        if (!real) real = (type (*) params)dlsym(RTLD_NEXT, #name); \
        __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED); return real args; }
COUNT(void *, malloc, (size_t n), (n))
COUNT(void *, realloc, (void *p, size_t n), (p, n))
COUNT(int, posix_memalign, (void **p, size_t a, size_t n), (p, a, n))
COUNT(void *, aligned_alloc, (size_t a, size_t n), (a, n))
COUNT(void *, memalign, (size_t a, size_t n), (a, n))
/* Asked for by dlsym itself, so it must not ask dlsym. */
extern void *__libc_calloc(size_t, size_t);
void *calloc(size_t n, size_t each)
{
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    return __libc_calloc(n, each);
}
__attribute__((destructor)) static void tell(void)
{
    FILE *file = fopen(getenv("CALLS"), "w");
    if (file) { fprintf(file, "%lu", calls); fclose(file); }
}
"#;

/// Calls of a guest that moves so much and of its netback, and operations done.
fn calls(scratch: &Scratch, shim: &str, mode: &str, amount: &str) -> ([u64; 2], u64) {
    let (dir, outs) = (scratch.text("lab"), [scratch.text("front"), scratch.text("back")]);
    let host = scratch.host(&[]);
    let mut netback = scratch.command(&["netback", "--dir", &dir]);
    netback.env("LD_PRELOAD", shim).env("CALLS", &outs[1]);
    let netback = common::Process::start(netback);
    let args = ["netfront", "--dir", &dir, "--mode", mode, "-n", amount];
    let mut guest = scratch.command(&args);
    guest.env("LD_PRELOAD", shim).env("CALLS", &outs[0]);
    let ended = common::Process::start(guest).end();
    assert!(ended.status.success(), "{mode}: {ended:?}");
    netback.leave();
    host.leave();
    let ops = ended.stdout.lines().find_map(|line| line.split_once(" s: ")?.1.split_once(" ops"));
    let ops = ops.expect("a line with ops").0.replace(',', "").parse().expect("a number");
    let calls = outs.map(|out| {
        let calls = std::fs::read_to_string(&out).expect("the shim's file");
        calls.parse().expect("a number")
    });
    (calls, ops)
}

#[test]
fn full_a_longer_run_allocates_no_more() {
    if !common::full("calls of malloc, counted from outside (needs cc; Debian: gcc libc6-dev)") {
        return;
    }
    let _turn = common::turn();
    let scratch = Scratch::new();
    let (source, shim) = (scratch.path("shim.c"), scratch.text("shim.so"));
    std::fs::write(&source, SHIM).expect("a file");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o", &shim]).arg(&source).arg("-ldl");
    let built = cc.status().expect("cannot run cc: apt install gcc libc6-dev");
    assert!(built.success());
    for (mode, short, long) in [
        ("pktgen", "64K", "1M"),
        ("stream", "64M", "512M"),
        ("maerts", "64M", "512M"),
        ("rr", "1K", "8K"),
    ] {
        let (short, few) = calls(&scratch, &shim, mode, short);
        let (long, many) = calls(&scratch, &shim, mode, long);
        assert!(many > few + 2000, "{mode}: {few} and {many} operations");
        for (side, (short, long)) in ["guest", "netback"].iter().zip(short.iter().zip(long)) {
            assert!(*short > 100, "{mode}: the shim counts: {short} of the {side}");
            let what = format!("{mode}, {side}: {short} calls for {few} ops, {long} for {many}");
            // Whoever watches the other end does so now and then, however much is moved.
            assert!(long <= short + 200, "{what}");
        }
    }
}
