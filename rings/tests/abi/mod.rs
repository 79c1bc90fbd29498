//! What `rings::io` says about Xen's structures, under the names Xen's headers give them.
//!
//! One table for two questions: `abi_layout` compares it with the numbers on record, `full_abi`
//! with what a C compiler reads out of the headers here and now. Nothing in it is a literal that
//! the library could contradict: sizes, offsets and constants are taken from its types.

mod blk;
mod net;
mod rest;
mod xs;

use std::collections::BTreeMap;
use std::fmt::Display;

/// Which generation of Xen's headers a table is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Headers {
    /// Debian 12 and 13; the console has no `connection` yet.
    BeforeXen4_21,
    /// The console has `connection`.
    SinceXen4_21,
}

/// Names and values, each name once.
#[derive(Debug, Default)]
pub(crate) struct Table(pub(crate) BTreeMap<String, String>);

impl Table {
    /// One item. Two of one name would hide each other, so that is an error in the test.
    pub(crate) fn put(&mut self, name: impl Into<String>, value: impl Display) {
        let (name, value) = (name.into(), value.to_string());
        assert!(self.0.insert(name.clone(), value).is_none(), "{name} is in the table twice");
    }

    /// An enum's values under their names, which must be as many.
    pub(crate) fn put_all<T: Display>(
        &mut self,
        prefix: &str,
        names: &[&str],
        values: impl ExactSizeIterator<Item = T>,
    ) {
        assert_eq!(names.len(), values.len(), "names of {prefix}");
        for (name, value) in names.iter().zip(values) {
            self.put(format!("{prefix}{name}"), value);
        }
    }

    /// A flags type's bits: Xen spells those of devices in lower case behind the prefix.
    pub(crate) fn put_flags<F: bitflags::Flags<Bits: Display>>(
        &mut self,
        prefix: &str,
        spell: fn(&str) -> String,
    ) {
        for flag in F::FLAGS.iter().filter(|flag| flag.is_named()) {
            self.put(format!("{prefix}{}", spell(flag.name())), flag.value().bits());
        }
    }

    /// Header and slots of a shared ring, on 1 to 16 pages.
    pub(crate) fn put_ring(&mut self, name: &str, slot: usize) {
        self.put(format!("offsetof {name}_sring.ring"), rings::io::SRING_HEADER);
        for order in 0..=4 {
            let size = rings::io::ring_size(slot, order);
            self.put(format!("ring {name} order {order}"), size);
        }
    }
}

/// `layout!(table, "c_name" = Type { field, field = "c_field", .. })`: size and offsets.
macro_rules! layout {
    ($table:expr, $name:literal = $type:ty { $($field:ident $(= $c:literal)?),* $(,)? }) => {
        $table.put(concat!("sizeof ", $name), size_of::<$type>());
        $(
            let c_name = [$($c,)? stringify!($field)][0];
            $table.put(
                format!("offsetof {}.{c_name}", $name),
                std::mem::offset_of!($type, $field),
            );
        )*
    };
}
use layout;

/// Everything we say.
pub(crate) fn ours(headers: Headers) -> Table {
    let mut table = Table::default();
    net::put(&mut table);
    blk::put(&mut table);
    rest::put(&mut table, headers);
    xs::put(&mut table);
    table
}

/// The table in lines of `name = value`, as `tests/c/abi.c` prints it.
pub(crate) fn parse(text: &str) -> Table {
    let mut table = Table::default();
    for line in text.lines() {
        let (name, value) = line.rsplit_once(" = ").expect("a line is `name = value`");
        table.put(name, value);
    }
    table
}

/// Every difference of two tables, an item that only one of them has included.
pub(crate) fn differences(ours: &Table, xen: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in &ours.0 {
        match xen.0.get(name) {
            None => found.push(format!("{name}: {value} here, unknown to Xen's headers")),
            Some(theirs) if theirs != value => {
                found.push(format!("{name}: {value} here, {theirs} in Xen's headers"));
            }
            Some(_) => {}
        }
    }
    for (name, value) in &xen.0 {
        if !ours.0.contains_key(name) {
            found.push(format!("{name}: {value} in Xen's headers, unknown here"));
        }
    }
    found
}
