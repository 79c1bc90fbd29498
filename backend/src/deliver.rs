//! A frame as its guest can take it: whole, with its checksum completed, or cut into segments; and
//! how many of the guest's buffers that takes. When there are none, and where frames come from, is
//! not known here.

use rings::csum;
use rings::frame::{Csum, ETH_HLEN, Headers, Meta};
use rings::io::netif::RX_RING_SIZE;
use rings::{Foreign, PAGE_SIZE};
use tracer::traced;

use crate::offload;
use crate::rx::Rx;
use crate::stats::Stats;
use crate::vif::Accepted;

/// Headers of a segment at most: Ethernet's, IPv4's and TCP's with all their options.
const HEADERS: usize = ETH_HLEN + 60 + 60;

/// Buffers that a frame of `len` bytes takes; `None` if this guest can never take it, however many
/// it posts. A sender chooses its segments: so small that their number has no end, or so large that
/// a receiver of single pages has no room for one. Neither may hold the queue, or spoil the ring of
/// a receiver that has done nothing.
#[inline]
pub(crate) fn slots_needed(len: usize, meta: Meta, accepted: &Accepted) -> Option<usize> {
    let (frames, each) = if meta.gso > 0 && !accepted.gso {
        let size = usize::from(meta.gso);
        (len.div_ceil(size), len.min(size + HEADERS))
    } else {
        (1, len)
    };
    let pages = each.div_ceil(PAGE_SIZE).max(1);
    let extra = usize::from(meta.gso > 0 && accepted.gso);
    let slots = frames * pages + extra;
    ((accepted.sg || pages == 1) && slots <= RX_RING_SIZE).then_some(slots)
}

/// Puts a frame on the rx ring as the guest can take it. One that it cannot take at all is counted, and
/// so is one whose sender has lied about it: it would make liars of us.
#[traced(fine, bytes = frame.len())]
#[inline]
pub(crate) fn deliver(
    frame: &mut [u8],
    meta: Meta,
    accepted: &Accepted,
    rx: &mut Rx,
    foreign: &mut impl Foreign,
    stats: &mut Stats,
    segment: &mut Vec<u8>,
) {
    let (Ok(headers), Some(_)) = (claimed(frame, meta), slots_needed(frame.len(), meta, accepted))
    else {
        stats.rx_errors += 1;
        return;
    };
    if meta.gso > 0 && !accepted.gso {
        stats.segmented += 1;
        let done = Meta { csum: Csum::Validated, gso: 0 };
        let whole = offload::segments(frame, meta.gso.into(), segment, |part| {
            rx.put(part, done, foreign, stats);
        });
        stats.rx_errors += u64::from(!whole);
        return;
    }
    let Some(headers) = headers else { return rx.put(frame, meta, foreign, stats) };
    if accepted.blank.takes(&headers) {
        if meta.gso > 0 {
            // Nobody has promised that the sum of the pseudo header is there; Linux sets it too.
            csum::seed(frame, &headers);
        }
        return rx.put(frame, meta, foreign, stats);
    }
    stats.completed += 1;
    csum::complete(frame, &headers);
    rx.put(frame, Meta { csum: Csum::Validated, ..meta }, foreign, stats);
    // Others may get the same frame, and take it as it was.
    csum::seed(frame, &headers);
}

/// The headers that a frame must have for what is said of it: a blank checksum has its place in one of TCP
/// or UDP, and only TCP over IPv4 is cut into segments. `Ok(None)` if nothing is said.
#[inline(always)]
fn claimed(frame: &[u8], meta: Meta) -> Result<Option<Headers>, Lie> {
    if meta.csum != Csum::Blank && meta.gso == 0 {
        return Ok(None);
    }
    let headers = Headers::find(frame).filter(|headers| meta.gso == 0 || headers.is_tcp4());
    headers.map(Some).ok_or(Lie)
}

/// What is said of a frame cannot be.
struct Lie;

#[cfg(test)]
mod tests {
    use rings::csum::Blank;

    use super::*;

    const BLANK: Blank = Blank { v4: true, v6: true };
    const ALL: Accepted = Accepted { sg: true, gso: true, blank: BLANK, rx_notify: true };
    const NO_GSO: Accepted = Accepted { gso: false, ..ALL };
    const PLAIN: Accepted = Accepted { sg: false, gso: false, ..ALL };

    fn gso(size: u16) -> Meta {
        Meta { csum: Csum::Blank, gso: size }
    }

    #[test]
    fn a_frame_takes_its_pages_its_extra_or_its_segments() {
        assert_eq!(slots_needed(60, Meta::default(), &PLAIN), Some(1));
        assert_eq!(slots_needed(4097, Meta::default(), &ALL), Some(2));
        assert_eq!(slots_needed(65_535, gso(1448), &ALL), Some(17));
        assert_eq!(slots_needed(2896, gso(1448), &NO_GSO), Some(2));
        assert_eq!(slots_needed(60_000, gso(8948), &NO_GSO), Some(7 * 3));
    }

    #[test]
    fn a_frame_that_a_guest_can_never_take_is_not_waited_for() {
        assert_eq!(slots_needed(4097, Meta::default(), &PLAIN), None, "two pages, no sg");
        assert_eq!(slots_needed(65_535, gso(1), &NO_GSO), None, "segments without end");
        assert_eq!(slots_needed(65_535, gso(60_000), &PLAIN), None, "segments of many pages");
    }
}
