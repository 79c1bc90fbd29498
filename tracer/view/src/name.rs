//! What things in a trace are called: the names of sites and functions, each kept once for all processes.

use std::collections::HashMap;

use tracer::format::journal::Site;

/// Which of a trace's names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(crate) struct NameId(u32);

impl NameId {
    /// Its place in a table that has one for each name.
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A site or a function.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Name {
    /// As it is shown.
    pub(crate) text: String,
    /// One of [`category`](tracer::format::category), or any other word.
    pub(crate) category: String,
    /// What the argument is; empty if there is none.
    pub(crate) arg: String,
    /// What the result is; empty if there is none.
    pub(crate) result: String,
    /// Module, file and line, where known.
    pub(crate) place: String,
}

impl Name {
    /// A name of a category, and nothing else.
    pub(crate) fn plain(text: impl Into<String>, category: &str) -> Self {
        Self { text: text.into(), category: category.into(), ..Self::default() }
    }
}

impl From<Site> for Name {
    fn from(site: Site) -> Self {
        let place = match (site.file.as_str(), site.line) {
            ("", _) => site.module,
            (file, line) => format!("{} ({file}:{line})", site.module),
        };
        let Site { name: text, category, arg, result, .. } = site;
        Self { text, category, arg, result, place }
    }
}

/// All names of a trace.
#[derive(Debug, Default)]
pub(crate) struct Names {
    all: Vec<Name>,
    ids: HashMap<Name, NameId>,
}

impl Names {
    /// The number of this name, which is new if there was none like it.
    pub(crate) fn id(&mut self, name: Name) -> NameId {
        let next = NameId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        *self.ids.entry(name).or_insert_with_key(|name| {
            self.all.push(name.clone());
            next
        })
    }

    /// The name of this number.
    #[inline]
    pub(crate) fn get(&self, id: NameId) -> &Name {
        &self.all[id.index()]
    }

    /// All of them, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.all.iter()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

/// Names by the numbers of one process. Numbers the journal says nothing of have the name they were
/// made with.
#[derive(Debug)]
pub(crate) struct NameTable {
    ids: Vec<NameId>,
    unknown: NameId,
}

impl NameTable {
    /// An empty one; `unknown` is what all are called that are not in it.
    pub(crate) fn new(unknown: NameId) -> Self {
        Self { ids: Vec::new(), unknown }
    }

    /// Says what `number` is called. `number` is below the format's limit of 2^24.
    pub(crate) fn set(&mut self, number: u32, name: NameId) {
        let at = number as usize;
        if at >= self.ids.len() {
            self.ids.resize(at + 1, self.unknown);
        }
        self.ids[at] = name;
    }

    /// What it is called.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> NameId {
        self.ids.get(number as usize).copied().unwrap_or(self.unknown)
    }
}
