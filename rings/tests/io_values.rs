//! Do values survive their way through the page, and can no bytes of the other end upset a decoder?
//!
//! Properties of `rings::io`'s decoding and encoding. Sizes and offsets are `abi_layout`'s.

use bitflags::Flags;
use proptest::prelude::*;
use rings::io::blkif::{self, Op, Request, RequestDiscard, RequestIndirect, RequestSegment};
use rings::io::grant_table::{GntStatus, GrantEntry, GrantFlags, GrantType};
use rings::io::netif::{
    BadExtra, Extra, ExtraInfo, GsoType, RxFlags, RxResponse, TxFlags, TxRequest,
};
use rings::io::netif_ctrl::{CtrlStatus, CtrlType, HashAlgorithm, HashFlags, HashType};
use rings::io::{console, event_channel::EvtchnStatus, ring_size};
use rings::{DomId, Pfn};
use zerocopy::{FromBytes, IntoBytes};

fn any_extra() -> impl Strategy<Value = Extra> {
    let gso = (any::<u16>(), prop::sample::select(GsoType::ALL), any::<u16>())
        .prop_map(|(size, kind, features)| Extra::Gso { size, kind, features });
    let hash = (
        prop::sample::select(HashType::ALL),
        prop::sample::select(HashAlgorithm::ALL),
        any::<u32>(),
    )
        .prop_map(|(kind, algorithm, value)| Extra::Hash { kind, algorithm, value });
    prop_oneof![
        gso,
        hash,
        any::<[u8; 6]>().prop_map(Extra::McastAdd),
        any::<[u8; 6]>().prop_map(Extra::McastDel),
    ]
}

proptest! {
    #[test]
    fn extra_survives_its_slot(extra in any_extra(), more: bool) {
        let info = extra.encode(more);
        prop_assert_eq!(info.decode(), Ok(extra));
        prop_assert_eq!(info.more(), more);
        // Through the bytes of a transmit slot, which is longer.
        let mut slot = [0xee; 12];
        slot[..8].copy_from_slice(info.as_bytes());
        prop_assert_eq!(ExtraInfo::read_from_prefix(&slot).expect("12 octets").0, info);
    }

    /// Any eight octets are an extra or an error that names what is wrong; and an extra that was
    /// read and written again reads the same.
    #[test]
    fn any_bytes_decode_or_say_why_not(kind in 0_u8..8, flags: u8, body: [u8; 6]) {
        let info = ExtraInfo { kind, flags, body };
        match info.decode() {
            Ok(extra) => prop_assert_eq!(extra.encode(info.more()).decode(), Ok(extra)),
            Err(BadExtra::Kind(k)) => prop_assert!(k == kind && !(1..=4).contains(&k)),
            Err(BadExtra::Gso(g)) => prop_assert!(kind == 1 && g == body[2] && g > 2),
            Err(BadExtra::HashType(h)) => prop_assert!(kind == 4 && h == body[0] && h > 3),
            Err(BadExtra::HashAlgorithm(a)) => prop_assert!(kind == 4 && a == body[1] && a > 1),
        }
    }

    /// Bits the other end sets without a name are neither lost nor taken for others.
    #[test]
    fn raw_flags_survive(bits: u16) {
        let request = TxRequest { flags: bits, ..TxRequest::default() };
        prop_assert_eq!(request.flags().bits(), bits);
        let response = RxResponse { flags: bits, ..RxResponse::default() };
        prop_assert_eq!(response.flags().bits(), bits);
        // The same bits say opposite things on the two rings.
        prop_assert_eq!(request.flags().contains(TxFlags::CSUM_BLANK), bits & 1 != 0);
        prop_assert_eq!(response.flags().contains(RxFlags::CSUM_BLANK), bits & 2 != 0);
    }

    #[test]
    fn grant_entry_survives_its_number(raw: u64) {
        let entry = GrantEntry::from_u64(raw);
        prop_assert_eq!(entry.to_u64(), raw);
        prop_assert_eq!(u64::from(entry.flags.bits()), raw & 0xffff);
        prop_assert_eq!(u64::from(entry.domid.0), raw >> 16 & 0xffff);
        prop_assert_eq!(u64::from(entry.frame.0), raw >> 32);
        prop_assert_eq!(entry.flags.in_use(), raw & 0x18 != 0);
        prop_assert_eq!(u64::from(entry.flags.kind() as u16), raw & 3);
    }

    /// The three shapes of a vbd's slot, and nothing of a shape past its end.
    #[test]
    fn vbd_requests_survive_their_slot(octets in prop::collection::vec(any::<u8>(), 112)) {
        let any = Request::read_from_bytes(&octets).expect("a slot");
        let (discard, indirect) = (any.as_discard(), any.as_indirect());
        prop_assert_eq!(discard.as_bytes(), &octets[..32]);
        prop_assert_eq!(indirect.as_bytes(), &octets[..64]);
        prop_assert_eq!((discard.id, indirect.id), (any.id, any.id));
        let slot = Request::from(discard);
        prop_assert_eq!(slot.as_discard(), discard);
        prop_assert!(slot.as_bytes()[32..].iter().all(|&octet| octet == 0));
        let slot = Request::from(indirect);
        prop_assert_eq!(slot.as_indirect(), indirect);
        prop_assert!(slot.as_bytes()[64..].iter().all(|&octet| octet == 0));
    }

    /// An index may stand anywhere, the wrap included; its place is always the remainder.
    #[test]
    fn console_indices_have_a_place(index: u32) {
        prop_assert_eq!(console::mask_in(index), index as usize % 1024);
        prop_assert_eq!(console::mask_out(index), index as usize % 2048);
    }

    /// As many slots as fit, rounded down: half of them would leave room for twice as many.
    #[test]
    fn ring_size_is_the_largest_power_of_two(slot in 1_usize..1024, order in 0_u32..5) {
        let (size, room) = (ring_size(slot, order), (4096 << order) - 64);
        prop_assert!(size.is_power_of_two() && size * slot <= room && size * 2 * slot > room);
    }
}

/// One round trip for every enum over a number: its values are found, no other number is.
macro_rules! every_number_is_known_or_refused {
    ($($name:ident: $raw:ty),* $(,)?) => {$(
        for &value in $name::ALL {
            assert_eq!($name::from_raw(value as $raw), Some(value));
        }
        let known = (-100..=100_i8)
            .filter_map(|n| <$raw>::try_from(n).ok().and_then($name::from_raw))
            .count();
        assert_eq!(known, $name::ALL.len(), stringify!($name));
        assert_eq!($name::from_raw(<$raw>::MAX), None);
    )*};
}

#[test]
fn numbers_become_enums_only_if_known() {
    every_number_is_known_or_refused!(
        CtrlStatus: u32,
        CtrlType: u16,
        EvtchnStatus: u32,
        GntStatus: i16,
        GrantType: u16,
        GsoType: u8,
        HashAlgorithm: u32,
        HashType: u8,
        Op: u8,
    );
}

/// The trap of netif.h: bits 0 and 1 trade places, the others do not.
#[test]
fn flags_of_the_two_rings_trade_bits_0_and_1() {
    assert_eq!(TxFlags::CSUM_BLANK.bits(), RxFlags::DATA_VALIDATED.bits());
    assert_eq!(TxFlags::DATA_VALIDATED.bits(), RxFlags::CSUM_BLANK.bits());
    assert_ne!(TxFlags::CSUM_BLANK.bits(), RxFlags::CSUM_BLANK.bits());
    assert_eq!(TxFlags::MORE_DATA.bits(), RxFlags::MORE_DATA.bits());
    assert_eq!(TxFlags::EXTRA_INFO.bits(), RxFlags::EXTRA_INFO.bits());
}

/// Within one type no two names share a bit.
#[test]
fn names_of_flags_never_mix() {
    fn distinct<F: Flags<Bits: Into<u64> + Copy>>() {
        let mut seen = 0_u64;
        for flag in F::FLAGS {
            let bits: u64 = flag.value().bits().into();
            assert_eq!(seen & bits, 0, "{}", flag.name());
            seen |= bits;
        }
    }
    distinct::<TxFlags>();
    distinct::<RxFlags>();
    distinct::<HashFlags>();
    distinct::<GrantFlags>();
    distinct::<blkif::VdiskInfo>();
}

/// The type of an entry is a number in its flags, and no bit of it says who may do what.
#[test]
fn a_grant_is_made_and_read_by_its_type() {
    let entry = GrantEntry::permit_access(DomId(7), Pfn(0x0102_0304), true);
    assert_eq!(entry.to_u64().to_le_bytes(), [0x05, 0, 7, 0, 4, 3, 2, 1]);
    assert!(entry.flags.contains(GrantFlags::READONLY) && !entry.flags.in_use());
    assert_eq!(GrantEntry::permit_access(DomId(7), Pfn(1), false).flags.bits(), 1);
    for &kind in GrantType::ALL {
        let flags = GrantFlags::of(kind);
        assert_eq!(flags.kind(), kind);
        // Setting and clearing a flag leaves the type alone.
        let busy = flags | GrantFlags::READING;
        assert_eq!(((busy & !GrantFlags::READING), busy.kind()), (flags, kind));
    }
    assert_eq!(GrantEntry::default().flags.kind(), GrantType::Invalid);
}

/// What a user reads when a grant fails.
#[test]
fn grant_statuses_speak() {
    assert_eq!(GntStatus::BadGntref.to_string(), "bad grant reference");
    assert_eq!(GntStatus::NoSpace.to_string(), "out of space");
    let mut words: Vec<_> = GntStatus::ALL.iter().map(GntStatus::to_string).collect();
    words.sort();
    words.dedup();
    assert_eq!(words.len(), GntStatus::ALL.len(), "no two say the same");
}

/// The pads of an answer are zero, whoever builds it (XSA-216), and so are a segment's.
#[test]
fn vbd_pads_are_written() {
    let ones = blkif::Response::new(u64::MAX, 0xff, -1);
    let pads: Vec<_> = (0..16).filter(|&at| ones.as_bytes()[at] == 0).collect();
    assert_eq!(pads, [9, 12, 13, 14, 15]);
    let segment = RequestSegment { gref: !0, first_sect: 7, last_sect: 7, ..Default::default() };
    assert_eq!(segment.as_bytes()[6..], [0, 0]);
    let discard = RequestDiscard { operation: Op::Discard as u8, id: 9, ..Default::default() };
    assert_eq!(Request::from(discard).operation, 5);
    let indirect = RequestIndirect { operation: Op::Indirect as u8, ..Default::default() };
    assert_eq!(Request::from(indirect).operation, 6);
}
