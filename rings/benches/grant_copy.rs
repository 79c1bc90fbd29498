//! What a checked copy costs, and what holding its grant adds: one hold for a batch of 32, as
//! `CopyEngine` does it, beside the two alternatives.
//!
//! *Two compare-and-swaps* sets the reading bit of each entry before its copy and clears it after,
//! as Xen itself does; *unchecked* is the bare memcpy. All in one thread and warm.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rings::grant::{
    CopyEngine, CopyOp, GntStatus, GrantMem, GrantPage, GrantTable, Hold, Layout, check,
};
use rings::io::grant_table::{GrantEntry, GrantFlags};
use rings::mem::Region;
use rings::sync::Ordering;
use rings::{DomId, Gref, PAGE_SIZE, Pfn};

const BATCH: usize = 32;
const SIZES: [u16; 3] = [64, 1500, 4096];
const CALLER: DomId = DomId(0);

/// A granter with 32 granted pages, and where their bytes go.
struct Bed {
    memory: Region,
    page: GrantPage,
    grefs: Vec<Gref>,
    arena: Vec<u8>,
}

impl Bed {
    fn new() -> Self {
        let layout = Layout::new(64, 512);
        let memory = Region::anonymous(layout.bytes());
        let page = GrantPage::new(&memory, &layout).expect("fits");
        let mut table = GrantTable::new(page.clone());
        let frames = (layout.pool_first..).take(BATCH);
        let grefs = frames
            .map(|pfn| table.grant_access(CALLER, Pfn(pfn), true).expect("a free gref"))
            .collect();
        Self { memory, page, grefs, arena: vec![0; BATCH * PAGE_SIZE] }
    }

    fn ops(&self, len: u16) -> Vec<CopyOp> {
        (0_u32..)
            .step_by(PAGE_SIZE)
            .zip(&self.grefs)
            .map(|(local, &gref)| CopyOp { gref, offset: 0, len, local, status: GntStatus::Okay })
            .collect()
    }
}

/// One copy that holds its grant in the entry, as the hypervisor does.
fn copy_with_two_swaps(page: &GrantPage, memory: &Region, op: &CopyOp, arena: &mut [u8]) {
    let mut word = page.load(op.gref, Ordering::Acquire);
    let frame = loop {
        let mut entry = GrantEntry::from_u64(word);
        let frame = check(entry, CALLER, false).expect("granted");
        entry.flags |= GrantFlags::READING;
        match page.compare_exchange(op.gref, word, entry.to_u64()) {
            Ok(()) => break frame,
            Err(now) => word = now,
        }
    };
    let at = frame.0 as usize * PAGE_SIZE + usize::from(op.offset);
    memory.copy_out(at, &mut arena[op.local as usize..][..usize::from(op.len)]);
    let mut word = page.load(op.gref, Ordering::Relaxed);
    loop {
        let mut entry = GrantEntry::from_u64(word);
        entry.flags -= GrantFlags::READING;
        match page.compare_exchange(op.gref, word, entry.to_u64()) {
            Ok(()) => break,
            Err(now) => word = now,
        }
    }
}

fn copies(c: &mut Criterion) {
    let mut group = c.benchmark_group("32 grants copied");
    for len in SIZES {
        group.throughput(Throughput::Elements(BATCH as u64));
        let mut bed = Bed::new();
        let mut ops = bed.ops(len);
        group.bench_function(BenchmarkId::new("held per batch", len), |b| {
            let hold = Hold::attach(0, &bed.page);
            let mut engine = CopyEngine::new(CALLER, bed.memory.clone(), bed.page.clone(), hold);
            b.iter(|| black_box(engine.copy_from(black_box(&mut ops), &mut bed.arena)));
        });
        assert!(ops.iter().all(|op| op.status == GntStatus::Okay));
        group.bench_function(BenchmarkId::new("two compare-and-swaps each", len), |b| {
            b.iter(|| {
                for op in black_box(&ops) {
                    copy_with_two_swaps(&bed.page, &bed.memory, op, &mut bed.arena);
                }
            });
        });
        group.bench_function(BenchmarkId::new("unchecked", len), |b| {
            let pool = Layout::new(64, 512).pool_first as usize * PAGE_SIZE;
            b.iter(|| {
                for op in black_box(&ops) {
                    let at = op.local as usize;
                    bed.memory.copy_out(pool + at, &mut bed.arena[at..][..usize::from(len)]);
                }
            });
        });
    }
    group.finish();
}

fn hold(c: &mut Criterion) {
    c.bench_function("hold: begin and end of an empty batch", |b| {
        let bed = Bed::new();
        let mut hold = Hold::attach(0, &bed.page);
        b.iter(|| {
            hold.begin(black_box(&bed.page));
            hold.end(black_box(&bed.page));
        });
    });
}

criterion_group!(benches, copies, hold);
criterion_main!(benches);
