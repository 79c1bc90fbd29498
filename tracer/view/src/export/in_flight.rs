//! How many requests of each ring are under way, from batch to batch. How that is written is for each format.

use tracer::format::Slot;

use crate::crossing::Batch;

/// How far each ring's requests were pushed and its responses seen.
#[derive(Debug)]
pub(super) struct InFlight {
    ends: Vec<(u64, u64)>,
    /// Of so many batches one is shown.
    every: u64,
}

impl InFlight {
    /// Of so many rings.
    pub(super) fn new(rings: usize, every: u64) -> Self {
        Self { ends: vec![(0, 0); rings], every: every.max(1) }
    }

    /// How many there are after this batch, if that is another number and one to be shown.
    #[inline]
    pub(super) fn after(&mut self, batch: &Batch) -> Option<u64> {
        let end = batch.first + u64::from(batch.count);
        let ends = &mut self.ends[batch.ring];
        match (batch.slot, batch.push) {
            (Slot::Request, true) => ends.0 = end,
            (Slot::Response, false) => ends.1 = end,
            _ => return None,
        }
        let (pushed, answered) = *ends;
        let shown = answered != 0 && batch.stamp.batch.is_multiple_of(self.every);
        pushed.checked_sub(answered).filter(|_| shown)
    }
}
