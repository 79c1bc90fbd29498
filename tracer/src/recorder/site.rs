//! Sites: the places in the source that record. Each is a static in a section of the program that the
//! linker puts together; a site's number is its place there. Nothing is registered while the program
//! runs, and nothing is hashed.

use crate::format::{Entry, category, journal};

/// A place in the source that records. Made by [`span!`](crate::span), [`mark!`](crate::mark) and
/// [`counter!`](crate::counter).
#[derive(Debug)]
#[repr(C)]
pub struct Site {
    name: &'static str,
    category: &'static str,
    module: &'static str,
    file: &'static str,
    arg: &'static str,
    result: &'static str,
    line: u32,
}

impl Site {
    /// For the macros.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        [name, category, module, file]: [&'static str; 4],
        line: u32,
        [arg, result]: [&'static str; 2],
    ) -> Self {
        Self { name, category, module, file, arg, result, line }
    }

    /// Its number, from 1 on.
    #[inline(always)]
    #[must_use]
    pub fn id(&'static self) -> u32 {
        let bytes = std::ptr::from_ref(self).addr() - (&raw const START).addr();
        // A table of 2^24 sites would be a gigabyte.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let index = (bytes / size_of::<Self>()) as u32;
        index + 1
    }

    fn entry(&'static self) -> Entry {
        Entry::Site(journal::Site {
            id: self.id(),
            line: self.line,
            name: self.name.into(),
            category: self.category.into(),
            module: self.module.into(),
            file: self.file.into(),
            arg: self.arg.into(),
            result: self.result.into(),
        })
    }
}

unsafe extern "C" {
    /// The linker's names for the two ends of the section; whatever type, only their addresses count.
    #[link_name = "__start_tracer_sites"]
    static START: u64;
    #[link_name = "__stop_tracer_sites"]
    static STOP: u64;
}

/// So that there is a section in a program without a site.
#[used]
#[unsafe(link_section = "tracer_sites")]
static OWN: Site =
    Site::new(["tracer", category::TRACER, module_path!(), file!()], line!(), ["", ""]);

/// All sites of this program, for its journal.
pub(super) fn all() -> impl Iterator<Item = Entry> {
    let (start, stop) = (&raw const START, &raw const STOP);
    let count = (stop.addr() - start.addr()) / size_of::<Site>();
    // SAFETY: the section holds nothing but statics of this type, made by `site!` and above; the
    // linker lays them side by side, since their size is a multiple of their alignment, and defines
    // the two symbols as its ends.
    let sites: &'static [Site] = unsafe { std::slice::from_raw_parts(start.cast(), count) };
    sites.iter().map(Site::entry)
}

/// A static [`Site`] in the table. For the other macros.
#[cfg(not(any(loom, feature = "no-trace")))]
#[doc(hidden)]
#[macro_export]
macro_rules! site {
    ($category:expr, $name:expr, $arg:expr, $result:expr) => {{
        #[used]
        #[unsafe(link_section = "tracer_sites")]
        static SITE: $crate::Site = $crate::Site::new(
            [$name, $category, module_path!(), file!()],
            line!(),
            [$arg, $result],
        );
        &SITE
    }};
}

/// Without a recorder there is no table.
#[cfg(any(loom, feature = "no-trace"))]
#[doc(hidden)]
#[macro_export]
macro_rules! site {
    ($category:expr, $name:expr, $arg:expr, $result:expr) => {{
        static SITE: $crate::Site = $crate::Site::new(
            [$name, $category, module_path!(), file!()],
            line!(),
            [$arg, $result],
        );
        &SITE
    }};
}
