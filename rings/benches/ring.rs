//! What the ring itself costs: a batch of 32 slots there and back, and the question whether to
//! notify.
//!
//! Both halves run in this thread, so no cache line changes its CPU: this is the floor under every
//! figure with two domains. What waking costs is measured with the host.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rings::PAGE_SIZE;
use rings::mem::Region;
use rings::ring::{BackRing, FrontRing, Sring, must_notify};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const BATCH: u32 = 32;

/// Shaped as a request of the tx ring.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Request {
    gref: u32,
    rest: [u16; 4],
}

/// Built in registers, as a driver does: a `black_box` around it would measure the stack.
fn request(gref: u32) -> Request {
    Request { gref, rest: [0, 0, u16::from(gref.to_le_bytes()[0]), 64] }
}

type Page = Sring<12>;

fn ends() -> (FrontRing<Page, Request, u32>, BackRing<Page, Request, u32>) {
    let page = Page::new(Region::anonymous(PAGE_SIZE));
    page.init(0);
    let front = FrontRing::attach(page.clone(), 0);
    (front, BackRing::attach(page).expect("an idle ring"))
}

fn ring(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(u64::from(BATCH)));
    group.bench_function("32 requests there, 32 responses back", |b| {
        let (mut front, mut back) = ends();
        b.iter(|| {
            for gref in 0..BATCH {
                front.put_request(request(gref));
            }
            let _ = black_box(front.push_requests());
            black_box(back.poll_requests()).expect("a true index");
            while let Some((_, request)) = back.take_request() {
                back.put_response(request.gref ^ u32::from(request.rest[3]));
            }
            let _ = black_box(back.push_responses());
            black_box(front.poll_responses()).expect("a true index");
            let mut sum = 0;
            while let Some((_, response)) = front.take_response() {
                sum ^= response;
            }
            sum
        });
    });
    group.bench_function("the same, published one by one", |b| {
        let (mut front, mut back) = ends();
        b.iter(|| {
            let mut sum = 0;
            for gref in 0..BATCH {
                front.put_request(request(gref));
                let _ = black_box(front.push_requests());
                black_box(back.poll_requests()).expect("a true index");
                let (_, request) = back.take_request().expect("a request");
                back.put_response(request.gref ^ u32::from(request.rest[3]));
                let _ = black_box(back.push_responses());
                black_box(front.poll_responses()).expect("a true index");
                sum ^= front.take_response().expect("a response").1;
            }
            sum
        });
    });
    group.finish();
}

fn notify(c: &mut Criterion) {
    let mut group = c.benchmark_group("notify");
    group.bench_function("the inequality", |b| {
        b.iter(|| must_notify(black_box(7), black_box(39), black_box(8)));
    });
    group.bench_function("a push of nothing: store, fence, event index", |b| {
        let (mut front, _back) = ends();
        b.iter(|| black_box(front.push_requests()));
    });
    group.bench_function("a final check that finds nothing", |b| {
        let (_front, mut back) = ends();
        b.iter(|| black_box(back.final_check_for_requests()));
    });
    group.finish();
}

criterion_group!(benches, ring, notify);
criterion_main!(benches);
