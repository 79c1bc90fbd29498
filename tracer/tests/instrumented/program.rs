//! The program that `full_sleds` has built with instrumented functions: it records itself, writes a trace to the file
//! it is given (none: it only works, for somebody else to record), and prints how often it has called what. Nothing in it is traced by hand.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tracer::format::journal::Process;
use tracer::keeper::{Keeper, Mode};

#[inline(never)]
fn leaf(x: u64) -> u64 {
    black_box(x) + 1
}

#[inline(never)]
fn middle(x: u64) -> u64 {
    (0..x).map(leaf).sum()
}

/// Ends with a call that needs no return to here.
#[inline(never)]
fn handing_on(x: u64) -> u64 {
    leaf(black_box(x) ^ 1)
}

#[inline(never)]
fn generic<T: Ord + Copy>(map: &mut BTreeMap<T, u64>, key: T) -> Option<u64> {
    map.insert(key, 7)
}

/// Has a dependency do something.
#[inline(never)]
fn check(header: &mut [u8; 20]) {
    header[0] = 0x45;
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut header[..]).fill_checksum();
}

#[inline(never)]
fn doomed(x: u64) -> u64 {
    if black_box(x) > 0 {
        std::panic::resume_unwind(Box::new(()));
    }
    x
}

/// Says which frames it is called from, by ending some of them.
#[inline(never)]
fn careful(x: u64) -> bool {
    std::panic::catch_unwind(|| doomed(x)).is_err()
}

#[inline(never)]
fn work() {
    black_box(middle(black_box(1000)));
    for n in 0..10 {
        black_box(handing_on(n));
    }
    let mut map = BTreeMap::new();
    for n in 0..20_u64 {
        black_box(generic(&mut map, n));
    }
    for _ in 0..7 {
        check(black_box(&mut [0; 20]));
    }
    assert!(careful(black_box(1)));
}

/// Signals that were dealt with.
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_: i32) {
    in_handler(black_box(1));
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

#[inline(never)]
fn in_handler(x: u64) -> u64 {
    leaf(black_box(x)) + 1
}

#[inline(never)]
fn interrupted(x: u64) -> u64 {
    leaf(black_box(x)) + 2
}

/// Works while another thread interrupts it, at moments that nobody chooses.
fn work_with_signals() {
    // SAFETY: the handler is a function that may run at any time: it takes no lock.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t) };
    // SAFETY: always succeeds.
    let (me, over) = (unsafe { libc::pthread_self() }, AtomicBool::new(false));
    let handled = || HANDLED.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let before = handled();
                // SAFETY: the thread outlives the scope that this one is in.
                unsafe { libc::pthread_kill(me, libc::SIGUSR1) };
                while handled() == before {
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..100 {
            let before = handled();
            for n in 0..50 {
                black_box(interrupted(n));
            }
            while handled() == before {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

fn main() {
    let path = std::env::args_os().nth(1);
    match path {
        Some(path) => record(path.as_ref()),
        None => work(),
    }
    println!(
        "leaf 1010\nmiddle 1\nhanding_on 10\ngeneric 20\ncheck 7\ndoomed 1\ncareful 1\nwork 1"
    );
}

fn record(path: &std::path::Path) {
    let keeper = Arc::new(Keeper::new(Mode::Stop, 1 << 24).expect("memory"));
    let host = Arc::clone(&keeper);
    tracer::start(Process::default(), keeper.switch(), host).expect("started");
    let worker = |name: &str, work: fn()| {
        let keeper = Arc::clone(&keeper);
        let named = std::thread::Builder::new().name(name.into());
        let thread = named.spawn(move || {
            keeper.set(true);
            tracer::mark!("begin");
            work();
            keeper.set(false);
        });
        thread.expect("a thread").join().expect("it ends well");
    };
    worker("first", work);
    worker("interrupted", work_with_signals);
    keeper.write(path, &[]).expect("written");
}
