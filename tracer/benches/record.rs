//! What recording costs beside one reading of the clock, and what it costs while it is off.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tracer::clock::{cycles, cycles_after_loads};
use tracer::format::Slot;
use tracer::format::journal::{Half, Process};
use tracer::keeper::{Keeper, Mode};
use tracer::{Ring, RingInfo};

#[inline(never)]
fn plain(x: u64) -> u64 {
    black_box(x) + 1
}

#[inline(never)]
fn spanned(x: u64) -> u64 {
    let _span = tracer::span!("spanned");
    black_box(x) + 1
}

#[inline(never)]
fn quiet(x: u64) -> u64 {
    let _span = tracer::quiet_span!("quiet");
    black_box(x) + 1
}

/// The shared keeper of all groups: a process records for one host.
fn keeper(mode: Mode) -> Arc<Keeper> {
    let keeper = Arc::new(Keeper::new(mode, 8 << 20).expect("memory"));
    let host = Arc::clone(&keeper);
    tracer::start(Process::default(), keeper.switch(), host).expect("started");
    keeper
}

fn calls(c: &mut Criterion) {
    let keeper = keeper(Mode::Overwrite);
    let mut group = c.benchmark_group("record");
    group.bench_function("clock", |b| b.iter(cycles));
    group.bench_function("clock behind loads", |b| b.iter(cycles_after_loads));
    group.bench_function("call", |b| b.iter(|| plain(black_box(1))));
    group.bench_function("call with a span, off", |b| b.iter(|| spanned(black_box(1))));
    keeper.set(true);
    tracer::attach();
    group.bench_function("one event, on", |b| b.iter(|| tracer::mark!("mark")));
    group.bench_function("call with a span (two events), on", |b| b.iter(|| spanned(black_box(1))));
    group.bench_function("call with an empty quiet span, on", |b| b.iter(|| quiet(black_box(1))));
    let info = RingInfo {
        name: "ring",
        half: Half::Front,
        size: 256,
        base: 0,
        in_order: true,
        awaited: true,
    };
    let mut ring = Ring::new(&info);
    let mut index = 0_u32;
    group.bench_function("push of a batch, on", |b| {
        b.iter(|| {
            let stamp = ring.stamp();
            ring.pushed(stamp, Slot::Request, index, index.wrapping_add(32), false);
            index = index.wrapping_add(32);
        });
    });
    group.bench_function("sight of a batch, on", |b| {
        b.iter(|| ring.seen(Slot::Response, 0, black_box(32)));
    });
    keeper.set(false);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = calls
}
criterion_main!(benches);
