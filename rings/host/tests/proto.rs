//! The C header says what the Rust half says: every number it defines is compared, and no definition
//! is left out. Reads the header's text; whether it compiles is for `full_c_peers` of testbeds.

use std::collections::BTreeMap;

use rings::evtchn::{End, EventPage, EventWords, Word};
use rings::grant::{GrantMem, GrantPage, HOLD_LINES, Layout};
use rings::io::grant_table::{ENTRY_SIZE, GrantFlags, GrantType, NR_RESERVED_ENTRIES};
use rings::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XsdType};
use rings::mem::Region;
use rings::sync::Ordering;
use rings::{Gref, PAGE_SIZE};
use rings_host::proto::{ANY, Kind, MAX_FDS, Message, VERSION};

const HEADER: &str = include_str!("../include/pvlab.h");

/// All `#define PVLAB_NAME number` of the header.
fn defines() -> BTreeMap<&'static str, u64> {
    let lines = HEADER.lines().filter_map(|line| line.strip_prefix("#define PVLAB_"));
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, value) = (words.next()?, words.next()?);
            Some((name, number(value).unwrap_or_else(|| panic!("PVLAB_{name} is {value}"))))
        })
        .collect()
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim_end_matches('u');
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Where in an event page a word of the second end lies.
fn place(word: Word) -> u64 {
    let page = Region::anonymous(PAGE_SIZE);
    EventPage::new(page.clone()).store(End::B, word, 1, Ordering::Relaxed);
    let at = (0..PAGE_SIZE).step_by(4).find(|&at| page.read::<u32>(at) == 1);
    at.expect("it was stored") as u64
}

/// How far the entries of a table, and its hold words, are apart.
fn strides() -> (u64, u64) {
    let layout = Layout::new(4, 512);
    let memory = Region::anonymous(layout.bytes());
    let table = GrantPage::new(&memory, &layout).expect("fits");
    table.store(Gref(1), u64::MAX, Ordering::Relaxed);
    table.store_hold(1, u32::MAX, Ordering::Relaxed);
    let hold = layout.hold as usize * PAGE_SIZE;
    let first = |from: usize| (0..PAGE_SIZE).find(|at| memory.read::<u8>(from + at) != 0);
    let grants = first(layout.grant_first as usize * PAGE_SIZE).expect("it was stored");
    (grants as u64, first(hold).expect("it was stored") as u64)
}

#[test]
fn the_header_and_the_rust_half_say_the_same() {
    let (entry, hold) = strides();
    let pending = place(Word::Pending);
    let xs = |kind: XsdType| u64::from(kind.number());
    let rust: BTreeMap<&str, u64> = [
        ("VERSION", VERSION.into()),
        ("ANY", ANY.into()),
        ("MAX_FDS", MAX_FDS as u64),
        ("MESSAGE_BYTES", size_of::<Message>() as u64),
        ("MESSAGE_ARGS", Message::default().arg.len() as u64),
        ("NAME_ARG", 4),
        ("NAME_BYTES", 32),
        ("HELLO", Kind::Hello as u64),
        ("ALLOC_UNBOUND", Kind::AllocUnbound as u64),
        ("BIND_INTERDOMAIN", Kind::BindInterdomain as u64),
        ("CLOSE", Kind::Close as u64),
        ("FOREIGN", Kind::Foreign as u64),
        ("RELEASE", Kind::Release as u64),
        ("STORE", Kind::Store as u64),
        ("STATS", Kind::Stats as u64),
        ("GOODBYE", Kind::Goodbye as u64),
        ("TRACE", Kind::Trace as u64),
        ("OPEN_PORT", Kind::OpenPort as u64),
        ("INSPECT", Kind::Inspect as u64),
        ("RECORD", Kind::Record as u64),
        ("PAGE", PAGE_SIZE as u64),
        ("GRANT_ENTRY_BYTES", ENTRY_SIZE as u64),
        ("GRANTS_PER_FRAME", Layout::ENTRIES_PER_FRAME.into()),
        ("GRANTS_RESERVED", NR_RESERVED_ENTRIES.into()),
        ("GRANT_PERMIT", GrantType::PermitAccess as u64),
        ("GRANT_TYPE", GrantFlags::TYPE_MASK.into()),
        ("GRANT_READONLY", GrantFlags::READONLY.bits().into()),
        ("GRANT_READING", GrantFlags::READING.bits().into()),
        ("GRANT_WRITING", GrantFlags::WRITING.bits().into()),
        ("HOLD_LINES", HOLD_LINES as u64),
        ("HOLD_STRIDE", hold),
        ("EVENT_STRIDE", pending),
        ("EVENT_PENDING", 0),
        ("EVENT_MASK", place(Word::Mask) - pending),
        ("EVENT_CLOSED", place(Word::Closed) - pending),
        ("XS_READ", xs(XsdType::READ)),
        ("XS_WATCH", xs(XsdType::WATCH)),
        ("XS_TRANSACTION_START", xs(XsdType::TRANSACTION_START)),
        ("XS_TRANSACTION_END", xs(XsdType::TRANSACTION_END)),
        ("XS_WRITE", xs(XsdType::WRITE)),
        ("XS_WATCH_EVENT", xs(XsdType::WATCH_EVENT)),
        ("XS_ERROR", xs(XsdType::ERROR)),
        ("XS_PAYLOAD_MAX", XENSTORE_PAYLOAD_MAX as u64),
    ]
    .into();
    assert_eq!(defines(), rust);
    assert_eq!(entry, ENTRY_SIZE as u64);
}

#[test]
fn the_name_stands_where_the_header_says() {
    let mut message = Message::request(Kind::Hello, &[]);
    message.set_name(&"x".repeat(100));
    let named: Vec<usize> = (0..message.arg.len()).filter(|&n| message.arg[n] != 0).collect();
    assert_eq!(named, (4..12).collect::<Vec<_>>());
    assert_eq!(message.name().len(), 31, "and a NUL");
}

#[test]
fn the_header_has_a_row_for_each_kind_of_message() {
    for n in (1..).take_while(|&n| Kind::from_number(n).is_some()) {
        let kind = Kind::from_number(n).expect("asked before");
        let spelt: String = format!("{kind:?}")
            .char_indices()
            .flat_map(|(at, c)| {
                let gap = (at > 0 && c.is_uppercase()).then_some('_');
                gap.into_iter().chain(c.to_uppercase())
            })
            .collect();
        let row = format!(" *{n:>4} {spelt}");
        assert!(HEADER.lines().any(|line| line.starts_with(&row)), "no row{row}");
    }
}
