//! Who is told what happens in a trace, and of what.

use tracer::format::{Event, Sent};

use crate::crossing::{Batch, Crossing, Requests};
use crate::name::NameId;
use crate::stack::{Slice, Stack};

/// Where and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    /// In [`View::threads`].
    pub(crate) thread: usize,
    /// Nanoseconds since the start of the trace.
    pub(crate) ns: i64,
}

/// A doorbell, and the thread that it woke.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wake {
    pub(crate) rung: At,
    pub(crate) received: At,
    /// The number of what was sent.
    pub(crate) number: u64,
}

/// Told what happens. Everything is optional.
pub(crate) trait Listener {
    /// Whether a frame is shown, asked when it begins; `record` is which of its thread's records.
    fn shows(&self, _thread: usize, _record: usize) -> bool {
        true
    }
    /// A function or span begins; `stack` has it as its innermost frame.
    fn begin(&mut self, _at: At, _stack: &Stack) {}
    /// It has ended; it is no longer on the stack.
    fn end(&mut self, _at: At, _slice: &Slice, _stack: &Stack) {}
    /// A moment or a value: [`Event::Mark`] and [`Event::Counter`], by the site's name.
    fn mark(&mut self, _at: At, _name: NameId, _arg: u32, _counter: bool) {}
    /// A sender had no room in a ring, since `since`.
    fn full(&mut self, _at: At, _ring: usize, _since: i64) {}
    /// An event was sent; `number` is its number among all.
    fn send(&mut self, _at: At, _channel: Option<usize>, _sent: Sent, _number: u64) {}
    /// An event was received.
    fn receive(&mut self, _at: At, _channel: Option<usize>) {}
    /// A doorbell was heard.
    fn wake(&mut self, _wake: &Wake) {}
    /// Slots were pushed or seen.
    fn batch(&mut self, _at: At, _batch: &Batch, _stack: &Stack) {}
    /// Slots have crossed.
    fn crossing(&mut self, _crossing: &Crossing) {}
    /// Requests are complete.
    fn requests(&mut self, _requests: &Requests) {}
    /// Recording was off between these moments, after all that was told so far.
    fn pause(&mut self, _off: i64, _on: i64) {}
    /// One slot was taken out; [`Event::Take`].
    fn take(&mut self, _at: At, _ring: usize, _event: &Event) {}
}
