//! Names of functions: the symbol table of a program.

use std::collections::BTreeMap;
use std::path::Path;

use object::{Object, ObjectSegment, ObjectSymbol, SymbolKind};

/// The functions of a program, by their addresses, counted from where the program begins.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    functions: BTreeMap<u64, String>,
    /// In hexadecimal; empty if it has none.
    pub(super) build_id: String,
}

impl Symbols {
    /// Of the program that runs; none if its file cannot be read any more.
    pub(super) fn of_this_program() -> Self {
        Self::of(Path::new("/proc/self/exe")).unwrap_or_default()
    }

    /// Of a program's file. `None` if that is none.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let file = std::fs::read(path).ok()?;
        let file = object::File::parse(&*file).ok()?;
        let begin = file.segments().map(|segment| segment.address()).min()?;
        let text = file.symbols().filter(|s| s.kind() == SymbolKind::Text && s.is_definition());
        let named = |s: object::Symbol<'_, '_>| {
            Some((s.address().checked_sub(begin)?, s.name().ok()?.to_owned()))
        };
        let build_id = file.build_id().ok().flatten().unwrap_or_default();
        Some(Self {
            functions: text.filter_map(named).collect(),
            build_id: build_id.iter().map(|octet| format!("{octet:02x}")).collect(),
        })
    }

    /// The name of what begins at `address`; empty if unknown.
    pub(super) fn at(&self, address: u64) -> &str {
        self.functions.get(&address).map_or("", String::as_str)
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, &str)> {
        self.functions.iter().map(|(&address, name)| (address, name.as_str()))
    }
}
