//! Slots as a frame. Pure: it sees private copies only, and every check of what the
//! guest wrote into a tx slot is here.
//!
//! | what the guest does | verdict |
//! |---|---|
//! | `more_data` or `extra_info` without a further request | [`Rogue::Cut`] |
//! | extra info of an unknown type, or without end | [`Rogue::Extra`], [`Rogue::Extras`] |
//! | a slot crosses its page | [`Rogue::Bounds`] |
//! | 20 data slots or more | [`Rogue::Slots`] |
//! | GSO of size 0 or of a type nobody offered | [`Rogue::Gso`] |
//! | 19 data slots; slots longer than the total; total below 14 bytes | [`Verdict::Drop`]: ERROR on each of its slots |
//!
//! The first class breaks the vif, the second fails the frame, as Linux' netback has it. Slots of no
//! bytes are legal anywhere but first, and are answered and not touched (XSA-448).

use rings::PAGE_SIZE;
use rings::frame::ETH_HLEN;
use rings::io::netif::{
    EXTRA_TYPE_MAX, Extra, ExtraInfo, GsoType, NR_SLOTS_MIN, TxFlags, TxRequest,
};
use rings::weaken::{Check, skipped};
use tracer::traced;

use crate::error::Rogue;

/// Data slots at which a guest is taken for hostile (`fatal_skb_slots`).
pub(crate) const FATAL_SLOTS: usize = 20;

/// Where slots come from: the ring, or a test.
pub trait Slots {
    /// The next slot as a request; `None` if there is none.
    fn request(&mut self) -> Option<TxRequest>;
    /// The next slot as an extra info; `None` if there is none.
    fn extra(&mut self) -> Option<ExtraInfo>;
}

/// What is to become of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Copy it.
    Good,
    /// Answer ERROR on all its slots; the reason for the curious.
    Drop(&'static str),
}

/// One frame's slots, taken apart.
#[derive(Clone, Debug)]
pub struct Packet {
    data: [TxRequest; FATAL_SLOTS],
    count: usize,
    /// Slots of extra infos; they stand behind the first data slot.
    pub extras: usize,
    /// Segment size, 0 without GSO.
    pub gso: u16,
    /// Bytes of the whole frame.
    pub total: u16,
}

impl Default for Packet {
    fn default() -> Self {
        let none = TxRequest { gref: 0, offset: 0, flags: 0, id: 0, size: 0 };
        Self { data: [none; FATAL_SLOTS], count: 0, extras: 0, gso: 0, total: 0 }
    }
}

impl Packet {
    /// The data slots. Here the first carries its own size too, no longer the total.
    #[inline(always)]
    #[must_use]
    pub fn data(&self) -> &[TxRequest] {
        &self.data[..self.count]
    }

    /// Flags of the first slot.
    #[inline(always)]
    #[must_use]
    pub fn flags(&self) -> TxFlags {
        self.data[0].flags()
    }
}

/// Journey 10. Takes one frame's slots, `None` if there are none, and judges it.
///
/// # Errors
/// What breaks the vif.
#[traced(fine, quiet)]
#[inline]
pub fn parse(slots: &mut impl Slots, packet: &mut Packet) -> Result<Option<Verdict>, Rogue> {
    let Some(first) = slots.request() else { return Ok(None) };
    packet.count = 1;
    packet.data[0] = first;
    (packet.extras, packet.gso, packet.total) = (0, 0, first.size);
    if first.flags().contains(TxFlags::EXTRA_INFO) {
        extras(slots, packet)?;
    }
    let mut verdict = Verdict::Good;
    if first.flags().contains(TxFlags::MORE_DATA) {
        verdict = rest(slots, packet)?;
    }
    let first = &packet.data[0];
    within_page(first)?;
    if usize::from(packet.total) < ETH_HLEN && !skipped(Check::Runt) {
        verdict = Verdict::Drop("shorter than an Ethernet header");
    }
    Ok(Some(verdict))
}

/// The data slots behind the first. What they carry is taken off the first one's size, which began
/// as the total.
fn rest(slots: &mut impl Slots, packet: &mut Packet) -> Result<Verdict, Rogue> {
    let mut verdict = Verdict::Good;
    loop {
        let slot = match slots.request() {
            None if skipped(Check::SlotCut) => return Ok(verdict),
            slot => slot.ok_or(Rogue::Cut)?,
        };
        if packet.count + 1 >= FATAL_SLOTS && !skipped(Check::SlotCount) {
            return Err(Rogue::Slots(FATAL_SLOTS));
        }
        within_page(&slot)?;
        match packet.data[0].size.checked_sub(slot.size) {
            Some(left) => packet.data[0].size = left,
            None if skipped(Check::SlotTotal) => {}
            None => {
                verdict = Verdict::Drop("slots longer than the frame");
                // Nothing of it will be copied; what is left of the first must still be in its
                // page to be judged fairly.
                packet.data[0].size = 0;
            }
        }
        packet.data[packet.count] = slot;
        packet.count += 1;
        if packet.count > NR_SLOTS_MIN {
            verdict = Verdict::Drop("more slots than a frame may have");
        }
        if !slot.flags().contains(TxFlags::MORE_DATA) {
            return Ok(verdict);
        }
    }
}

/// Whether a slot's bytes are in its page.
#[inline(always)]
fn within_page(slot: &TxRequest) -> Result<(), Rogue> {
    let within = usize::from(slot.offset) + usize::from(slot.size) <= PAGE_SIZE;
    if within || skipped(Check::SlotBounds) {
        Ok(())
    } else {
        Err(Rogue::Bounds(slot.offset, slot.size))
    }
}

/// The extra infos behind the first slot: one of each type counts, the last of its type wins.
fn extras(slots: &mut impl Slots, packet: &mut Packet) -> Result<(), Rogue> {
    loop {
        let info = slots.extra().ok_or(Rogue::Cut)?;
        packet.extras += 1;
        match info.decode() {
            Ok(Extra::Gso { size, kind: GsoType::TcpV4, .. }) if size > 0 => packet.gso = size,
            Ok(Extra::Gso { .. }) if skipped(Check::GsoSize) => {}
            Ok(Extra::Gso { size, kind, .. }) => return Err(Rogue::Gso(size, kind as u8)),
            Ok(_) => {}
            Err(_) if skipped(Check::ExtraType) => {}
            Err(_) => return Err(Rogue::Extra(info.kind)),
        }
        if !info.more() {
            return Ok(());
        }
        if packet.extras > usize::from(EXTRA_TYPE_MAX) && !skipped(Check::ExtraCount) {
            return Err(Rogue::Extras);
        }
    }
}
