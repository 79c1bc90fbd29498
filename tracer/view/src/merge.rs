//! All threads' records as one sequence in the order of time.

use tracer::format::{Record, Records};

use crate::view::View;

/// One record and its place in the whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Merged {
    /// In [`View::threads`].
    pub(crate) thread: usize,
    /// Which of its thread's records.
    pub(crate) number: usize,
    /// When: in ticks of the trace's clock, never before the one before it in its thread.
    pub(crate) ticks: u64,
    pub(crate) record: Record,
}

/// Calls `take` with every record. Of two with one stamp, what was sent comes before what was received.
pub(crate) fn in_order(view: &View<'_>, mut take: impl FnMut(Merged)) {
    let mut heads: Vec<Head<'_>> = Vec::with_capacity(view.threads.len());
    for (thread, of) in view.threads.iter().enumerate() {
        let offset = view.processes[of.process].clock_offset;
        heads.extend(Head::new(thread, offset, of.records()));
    }
    while let Some(first) = (0..heads.len()).min_by_key(|&at| heads[at].key()) {
        let others = heads.iter().enumerate().filter(|(at, _)| *at != first);
        let until =
            others.map(|(_, head)| head.key()).min().unwrap_or((u64::MAX, true, usize::MAX));
        // Mostly a thread is alone for a while: no need to compare all after each record.
        let head = &mut heads[first];
        loop {
            take(head.merged());
            if !head.advance() {
                heads.swap_remove(first);
                break;
            }
            if head.key() > until {
                break;
            }
        }
    }
}

/// Where one thread is.
struct Head<'a> {
    thread: usize,
    offset: i64,
    next: Record,
    number: usize,
    /// The time of `next`, never before that of the one before it.
    ticks: u64,
    rest: Records<'a>,
}

impl<'a> Head<'a> {
    fn new(thread: usize, offset: i64, mut records: Records<'a>) -> Option<Self> {
        let next = records.next()?;
        let ticks = next.ticks.saturating_add_signed(offset);
        Some(Self { thread, offset, next, number: 0, ticks, rest: records })
    }

    #[inline]
    fn merged(&self) -> Merged {
        let Self { thread, number, ticks, next: record, .. } = *self;
        Merged { thread, number, ticks, record }
    }

    #[inline]
    fn key(&self) -> (u64, bool, usize) {
        (self.ticks, self.next.is_pop(), self.thread)
    }

    #[inline]
    fn advance(&mut self) -> bool {
        let Some(next) = self.rest.next() else { return false };
        self.ticks = self.ticks.max(next.ticks.saturating_add_signed(self.offset));
        self.next = next;
        self.number += 1;
        true
    }
}
