//! What a thread is in the middle of: functions and spans, opened and closed by its records.
//!
//! Frames nest. Three things can be missing, and are closed at the first sign: the exit of a sled's
//! function that was left by unwinding (the exit of one further out), that of a function that `mcount`
//! saw (a stack pointer that is not lower), and all that were open when the records end.

use crate::name::NameId;

/// What opened a frame, and so what closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opener {
    /// A site's number.
    Site(u32),
    /// An instrumented function's number.
    Function(u32),
    /// `mcount`, at this stack pointer / 16, modulo 2^24.
    Called(u32),
    /// A look for work that found none: the next record ends it.
    Spin,
}

/// A function or span that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) opener: Opener,
    pub(crate) name: NameId,
    /// Nanoseconds.
    pub(crate) start: i64,
    pub(crate) arg: u32,
    /// Which of its thread's records began it.
    pub(crate) record: usize,
    /// It is shown: filters and thinning leave it in.
    pub(crate) shown: bool,
    /// It had begun before the first record.
    pub(crate) older: bool,
    /// Nanoseconds in the frames inside.
    pub(crate) inner_ns: i64,
    /// Records inside, those of the frames inside too.
    pub(crate) inner: u64,
    /// Records that are its own: events, and one for each frame inside.
    pub(crate) own: u64,
    /// Frames inside that are not shown, and their nanoseconds, as far as they stand directly in it.
    pub(crate) hidden: u32,
    pub(crate) hidden_ns: i64,
}

/// How a frame ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Its end was recorded.
    Returned,
    /// It ended with a call.
    Tail,
    /// Something further out ended: it was left by unwinding.
    Unwound,
    /// Nobody recorded its end; it was over by now.
    Inferred,
    /// The records end, it does not.
    Open,
}

/// A function or span that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) frame: Frame,
    /// Frames around it.
    pub(crate) depth: usize,
    /// Nanoseconds.
    pub(crate) end: i64,
    pub(crate) result: u32,
    pub(crate) how: How,
}

impl Slice {
    #[inline]
    pub(crate) fn ns(&self) -> i64 {
        self.end - self.frame.start
    }

    /// Without the time of the frames inside. Nanoseconds.
    #[inline]
    pub(crate) fn self_ns(&self) -> i64 {
        (self.ns() - self.frame.inner_ns).max(0)
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.how == How::Open
    }
}

/// The frames of one thread, the innermost last.
#[derive(Debug, Default)]
pub(crate) struct Stack {
    frames: Vec<Frame>,
    /// Exits whose entries are not there.
    pub(crate) orphans: u64,
}

impl Stack {
    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    #[inline]
    pub(crate) fn top(&self) -> Option<&Frame> {
        self.frames.last()
    }

    /// The innermost frame that is a site's.
    pub(crate) fn innermost_site(&self) -> Option<&Frame> {
        self.frames.iter().rfind(|frame| matches!(frame.opener, Opener::Site(_)))
    }

    #[inline]
    pub(crate) fn open(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    /// Counts a record that is no frame's beginning or end.
    #[inline]
    pub(crate) fn count_event(&mut self) {
        if let Some(top) = self.frames.last_mut() {
            top.own += 1;
            top.inner += 1;
        }
    }

    /// Ends the innermost frame.
    #[inline]
    pub(crate) fn close_top(&mut self, end: i64, result: u32, how: How) -> Option<Slice> {
        let frame = self.frames.pop()?;
        let depth = self.frames.len();
        let slice = Slice { frame, depth, end: end.max(frame.start), result, how };
        if let Some(around) = self.frames.last_mut() {
            around.inner_ns += slice.ns();
            // A spin's end has no record of its own.
            around.inner += frame.inner + if frame.opener == Opener::Spin { 1 } else { 2 };
            around.own += 1;
            if !frame.shown {
                around.hidden += 1;
                around.hidden_ns += slice.ns();
            }
        }
        Some(slice)
    }

    /// How many frames there are up to the innermost of this opener; none if there is none.
    #[inline]
    pub(crate) fn up_to(&mut self, opener: Opener) -> Option<usize> {
        let at = self.frames.iter().rposition(|frame| frame.opener == opener);
        self.orphans += u64::from(at.is_none());
        at.map(|at| at + 1)
    }

    /// Whether a call seen by `mcount` at this stack pointer shows the innermost frame to be over.
    pub(crate) fn is_over(&self, stack: u32) -> bool {
        let Some(Opener::Called(mine)) = self.frames.last().map(|frame| frame.opener) else {
            return false;
        };
        // Modulo 2^24: a caller's is higher, by less than half of that.
        let above = mine.wrapping_sub(stack) & 0x00ff_ffff;
        above == 0 || above >= 1 << 23
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_at_a_stack_pointer_that_is_not_lower_ends_what_is_deeper() {
        let mut stack = Stack::default();
        let called = |sp| Frame {
            opener: Opener::Called(sp),
            name: NameId::default(),
            start: 0,
            arg: 0,
            record: 0,
            shown: true,
            older: false,
            inner_ns: 0,
            inner: 0,
            own: 0,
            hidden: 0,
            hidden_ns: 0,
        };
        assert!(!stack.is_over(5), "nothing is open");
        stack.open(called(0x10));
        assert!(!stack.is_over(0x0f), "its callee");
        assert!(stack.is_over(0x10), "its sibling");
        assert!(stack.is_over(0x11), "its caller's sibling");
        stack.open(called(3));
        assert!(!stack.is_over(0x00ff_fffe), "below zero, modulo 2^24");
    }
}
