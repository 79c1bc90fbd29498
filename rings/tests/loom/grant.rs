//! Taking a grant back against its use: `end_access` against batches of copies, and against a map.
//!
//! Pages are watched memory, and the granter writes to a page as soon as `end_access` says `Ok`: a
//! copy that touches it then, or was not ordered before, fails the model. The checks of a single
//! copy are the business of `prop_grant`.

use std::rc::Rc;

use loom::sync::atomic::{Ordering, fence};
use loom::thread;
use rings::grant::{GntStatus, GrantMem, GrantTable, Hold, Pins, StillInUse, check};
use rings::io::grant_table::{GrantEntry, NR_RESERVED_ENTRIES};
use rings::{DomId, Gref, Pfn};

use super::explore;
use super::memory::{GrantWords, Watched};

const BACKEND: DomId = DomId(0);
/// What a page holds while it is granted.
const GRANTED: u64 = 0x6772_616e_7465_6421;
/// One gref beside the reserved ones, which a model so gives away again and again.
const GREFS: usize = NR_RESERVED_ENTRIES as usize + 1;

type Words<const COPIERS: usize> = GrantWords<GREFS, COPIERS>;
type Pages = Rc<[Watched; 2]>;

/// The steps of the two sides that a model may replace by broken ones.
struct Steps<const COPIERS: usize> {
    begin: fn(&mut Hold, &Words<COPIERS>),
    end: fn(&mut Hold, &Words<COPIERS>),
    end_access:
        fn(&mut GrantTable<Words<COPIERS>>, &Words<COPIERS>, Gref) -> Result<(), StillInUse>,
}

impl<const COPIERS: usize> Clone for Steps<COPIERS> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<const COPIERS: usize> Copy for Steps<COPIERS> {}

impl<const COPIERS: usize> Steps<COPIERS> {
    const REAL: Self = Self {
        begin: Hold::begin,
        end: Hold::end,
        end_access: |table, _, gref| table.end_access(gref),
    };
}

/// Two pages with the bytes that a grant would show.
fn pages() -> Pages {
    let pages = Pages::default();
    pages.iter().for_each(|page| page.write(GRANTED));
    pages
}

/// One batch of one copy, as `CopyEngine` does it.
fn copy<const COPIERS: usize>(
    steps: Steps<COPIERS>,
    words: &Words<COPIERS>,
    hold: &mut Hold,
    pages: &Pages,
    gref: Gref,
) {
    (steps.begin)(hold, words);
    let entry = GrantEntry::from_u64(words.load(gref, Ordering::Acquire));
    if let Ok(Pfn(frame)) = check(entry, BACKEND, true) {
        assert_eq!(pages[frame as usize].read(), GRANTED, "bytes that were not granted");
    }
    (steps.end)(hold, words);
}

/// Each copier runs `batches`; the granter tries `tries` times to take its grant back, and when it
/// has succeeded uses the page for itself. If `again`, it then grants the other page by the same
/// gref, and takes that back too.
fn copies<const COPIERS: usize>(steps: Steps<COPIERS>, batches: usize, tries: usize, again: bool) {
    let (words, pages) = (Words::<COPIERS>::new(), pages());
    let mut table = GrantTable::new(words.clone());
    let gref = table.grant_access(BACKEND, Pfn(0), false).expect("a free gref");
    let copiers: Vec<_> = (0..COPIERS)
        .map(|line| {
            let (words, pages) = (words.clone(), Rc::clone(&pages));
            thread::spawn(move || {
                let mut hold = Hold::attach(line, &words);
                for _ in 0..batches {
                    copy(steps, &words, &mut hold, &pages, gref);
                }
            })
        })
        .collect();
    let end_and_reuse = |table: &mut GrantTable<_>, page: usize| {
        let ended = (0..tries).any(|_| (steps.end_access)(table, &words, gref).is_ok());
        if ended {
            pages[page].write(0);
        }
        ended
    };
    if end_and_reuse(&mut table, 0) && again {
        pages[1].write(GRANTED);
        assert_eq!(table.grant_access(BACKEND, Pfn(1), false), Some(gref));
        end_and_reuse(&mut table, 1);
    }
    for copier in copiers {
        copier.join().expect("no panic");
    }
}

/// The other domain maps the grant, uses the page and unmaps it, for reading and then for writing;
/// the granter as above.
fn maps(unpin: fn(&mut Pins, &Words<1>, Gref, bool) -> Result<(), GntStatus>) {
    let (words, pages) = (Words::<1>::new(), pages());
    let mut table = GrantTable::new(words.clone());
    let gref = table.grant_access(BACKEND, Pfn(0), false).expect("a free gref");
    let mapper = thread::spawn({
        let pages = Rc::clone(&pages);
        move || {
            let mut pins = Pins::default();
            for write in [false, true] {
                if let Ok(Pfn(frame)) = pins.pin(&words, BACKEND, gref, write) {
                    assert_eq!(
                        pages[frame as usize].read(),
                        GRANTED,
                        "bytes that were not granted"
                    );
                    unpin(&mut pins, &words, gref, write).expect("a pin of ours");
                }
            }
        }
    });
    if (0..2).any(|_| table.end_access(gref).is_ok()) {
        pages[0].write(0);
    }
    mapper.join().expect("no panic");
}

/// DESIGN: "A copy holds its grant while it runs (end_access is refused meanwhile)". No copy
/// touches a page after `end_access` said `Ok`, also when the granter asks again and again while
/// one batch follows the other.
#[test]
fn no_copy_touches_a_page_after_its_access_ended() {
    explore(None, || copies::<1>(Steps::REAL, 2, 3, false));
}

/// The same for two copiers, who share nothing but the table. Bound: 3 preemptions.
#[test]
fn no_copy_of_two_copiers_touches_a_page_after_its_access_ended() {
    explore(Some(3), || copies::<2>(Steps::REAL, 1, 2, false));
}

/// grant_table.h: domid and frame before flags, and a gref is only reused once its access has
/// ended. A copier sees the old page, nothing, or all of the new one.
#[test]
fn a_gref_that_is_used_again_leads_to_one_page_or_the_other() {
    explore(None, || copies::<1>(Steps::REAL, 2, 2, true));
}

/// grant_table.h: an entry in use "must not be changed"; the bits go when the last mapping is gone.
#[test]
fn no_mapped_page_is_reused() {
    explore(None, || maps(|pins, words, gref, write| pins.unpin(words, gref, write)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_fence_in_begin_a_copy_touches_a_page_after_its_access_ended() {
    let begin = |hold: &mut Hold, words: &Words<1>| {
        let odd = words.load_hold(hold.line(), Ordering::Relaxed).wrapping_add(1) | 1;
        words.store_hold(hold.line(), odd, Ordering::Release);
    };
    let steps = Steps { begin, ..Steps::REAL };
    explore(None, move || copies::<1>(steps, 1, 1, false));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_fence_in_end_access_a_copy_touches_a_page_after_its_access_ended() {
    let end_access = |_: &mut GrantTable<Words<1>>, words: &Words<1>, gref| {
        words.compare_exchange(gref, words.load(gref, Ordering::Relaxed), 0).expect("nobody else");
        let running = words.load_hold(0, Ordering::Acquire) % 2 == 1;
        if running { Err(StillInUse(gref)) } else { Ok(()) }
    };
    let steps = Steps { end_access, ..Steps::REAL };
    explore(None, move || copies::<1>(steps, 1, 1, false));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_granter_that_looks_at_the_holds_first_reuses_a_page_under_a_copy() {
    let end_access = |_: &mut GrantTable<Words<1>>, words: &Words<1>, gref| {
        let running = words.load_hold(0, Ordering::SeqCst) % 2 == 1;
        fence(Ordering::SeqCst);
        words.store(gref, 0, Ordering::SeqCst);
        if running { Err(StillInUse(gref)) } else { Ok(()) }
    };
    let steps = Steps { end_access, ..Steps::REAL };
    explore(None, move || copies::<1>(steps, 1, 1, false));
}

/// A hold word that is stored relaxed says that a later batch runs, but not that the copies of the
/// earlier one are done.
#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_in_begin_a_page_is_reused_before_the_last_copy_of_it() {
    let begin = |hold: &mut Hold, words: &Words<1>| {
        let odd = words.load_hold(hold.line(), Ordering::Relaxed).wrapping_add(1) | 1;
        words.store_hold(hold.line(), odd, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    };
    let end = |hold: &mut Hold, words: &Words<1>| {
        let even = words.load_hold(hold.line(), Ordering::Relaxed).wrapping_add(1);
        words.store_hold(hold.line(), even, Ordering::Release);
    };
    let steps = Steps { begin, end, ..Steps::REAL };
    explore(None, move || copies::<1>(steps, 2, 3, false));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_unmap_that_does_not_release_lets_a_page_be_reused_before_the_last_read_of_it() {
    explore(None, || {
        maps(|_, words, gref, _| {
            let entry = GrantEntry::permit_access(BACKEND, Pfn(0), false);
            words.store(gref, entry.to_u64(), Ordering::Relaxed);
            Ok(())
        });
    });
}
