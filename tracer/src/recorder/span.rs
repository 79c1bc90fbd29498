//! Spans: what lasts, recorded at its beginning and its end.
//!
//! A span ends when it is dropped, and so also when its function returns early or panics. One whose
//! beginning was recorded records its end, whatever the switch says by then, and one whose beginning
//! was not never does: frames are whole.

use std::marker::PhantomData;

use super::thread::{NOT_RECORDED, record, record_quietly, record_spin, take_back};
use super::{Site, switch};
use crate::format::record::{kind, tag};

/// Something that lasts until this is dropped.
#[derive(Debug)]
#[must_use = "a span that is not kept ends at once"]
pub struct Span {
    /// Its site; 0 if it is not recorded.
    id: u32,
    result: u32,
    /// Of this thread.
    _thread: PhantomData<*const ()>,
}

impl Span {
    /// For [`span!`](crate::span).
    #[doc(hidden)]
    #[inline(always)]
    pub fn enter(site: &'static Site, arg: u32) -> Self {
        let mut id = 0;
        if switch::on() {
            std::hint::cold_path();
            id = site.id();
            record(tag(kind::ENTER, id), arg);
        }
        Self { id, result: 0, _thread: PhantomData }
    }

    /// What its end will tell.
    #[inline(always)]
    pub fn result(&mut self, result: u32) {
        self.result = result;
    }
}

impl Drop for Span {
    #[inline(always)]
    fn drop(&mut self) {
        if self.id != 0 {
            std::hint::cold_path();
            record(tag(kind::EXIT, self.id), self.result);
        }
    }
}

/// A span that leaves no record if nothing is recorded in it: for functions that look for work and
/// mostly find none. What they do when they find some must record something.
#[derive(Debug)]
#[must_use = "a span that is not kept ends at once"]
pub struct QuietSpan {
    id: u32,
    /// The buffer's cursor after its beginning.
    mine: u64,
    _thread: PhantomData<*const ()>,
}

impl QuietSpan {
    /// For [`quiet_span!`](crate::quiet_span).
    #[doc(hidden)]
    #[inline(always)]
    pub fn enter(site: &'static Site, arg: u32) -> Self {
        let (mut id, mut mine) = (0, NOT_RECORDED);
        if switch::on() {
            std::hint::cold_path();
            id = site.id();
            mine = record_quietly(tag(kind::ENTER, id), arg);
        }
        Self { id, mine, _thread: PhantomData }
    }

    /// Says that it is worth its records, even if nothing else was recorded in it.
    #[inline(always)]
    pub fn keep_if(&mut self, worked: bool) {
        if worked {
            // No cursor is there again.
            self.mine = 0;
        }
    }
}

impl Drop for QuietSpan {
    #[inline(always)]
    fn drop(&mut self) {
        if self.id != 0 {
            std::hint::cold_path();
            if !take_back(self.mine) {
                record(tag(kind::EXIT, self.id), 0);
            }
        }
    }
}

/// What [`fine_span!`](crate::fine_span) is without the feature `trace-fine`.
#[derive(Debug)]
pub struct NoSpan;

impl NoSpan {
    /// As [`Span::result`].
    #[inline(always)]
    pub fn result(&mut self, _result: u32) {}
}

/// Records a moment. For [`mark!`](crate::mark).
#[doc(hidden)]
#[inline(always)]
pub fn mark(site: &'static Site, arg: u32) {
    single(kind::MARK, site, arg);
}

/// Records a value. For [`counter!`](crate::counter).
#[doc(hidden)]
#[inline(always)]
pub fn counter(site: &'static Site, value: u32) {
    single(kind::COUNTER, site, value);
}

/// Records that this thread looks for work from now on, and finds none until its next record. For
/// [`spinning!`](crate::spinning).
#[doc(hidden)]
#[inline(always)]
pub fn spinning(site: &'static Site) {
    if switch::on() {
        std::hint::cold_path();
        record_spin(tag(kind::SPIN, site.id()));
    }
}

#[inline(always)]
fn single(kind: u32, site: &'static Site, arg: u32) {
    if switch::on() {
        std::hint::cold_path();
        record(tag(kind, site.id()), arg);
    }
}
