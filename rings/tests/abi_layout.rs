//! Are our bytes Xen's? Compared with the numbers on record, so that every machine can tell.
//!
//! The record, `golden/abi-xen-4.17.txt`, is what `c/abi.c` prints with Debian's libxen-dev 4.17.
//! Whether it is still what the headers say is `full_abi`'s question; values, not layout, are
//! `io_values`'.

mod abi;

use abi::Headers;

const GOLDEN: &str = include_str!("golden/abi-xen-4.17.txt");

/// Sizes, offsets, constants and ring sizes: all that the record has, and nothing it has not.
#[test]
fn layout_is_that_of_xen_4_17() {
    let found = abi::differences(&abi::ours(Headers::BeforeXen4_21), &abi::parse(GOLDEN));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What 4.17 does not have yet: an octet behind the console's indices.
#[test]
fn console_page_of_4_21_only_appends() {
    let (old, new) = (abi::ours(Headers::BeforeXen4_21), abi::ours(Headers::SinceXen4_21));
    let found = abi::differences(&new, &old);
    assert_eq!(
        found,
        [
            "XENCONSOLE_CONNECTED: 0 here, unknown to Xen's headers",
            "XENCONSOLE_DISCONNECTED: 1 here, unknown to Xen's headers",
            "offsetof xencons_interface.connection: 3088 here, unknown to Xen's headers",
            "sizeof xencons_interface: 3092 here, 3088 in Xen's headers",
        ]
    );
}

/// The comparison itself: a wrong number and an item of one side only are all found.
#[test]
fn every_kind_of_difference_is_found() {
    let ours = abi::parse("sizeof a = 4\nB = -1\nC = 1");
    let xen = abi::parse("sizeof a = 8\nC = 1\nD = 2");
    assert_eq!(
        abi::differences(&ours, &xen),
        [
            "B: -1 here, unknown to Xen's headers",
            "sizeof a: 4 here, 8 in Xen's headers",
            "D: 2 in Xen's headers, unknown here",
        ]
    );
}
