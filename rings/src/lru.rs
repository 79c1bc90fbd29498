//! What is kept, of many things: by a small number, the least recently used first to go.
//!
//! Backends keep pages of a guest mapped with it. Linux' blkback keeps a red-black tree and a list that
//! it sweeps every 100 ms, and drops 5 % of what is there when more than `max_persistent_grants` are. Here
//! each key has its place in a table (grefs are small numbers, and only those that could be mapped get
//! in), and the order is exact. Mapping and unmapping is done by whoever owns this.

/// No entry.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry<T> {
    key: usize,
    value: Option<T>,
    newer: u32,
    older: u32,
}

/// Values by key, in the order of their last use.
#[derive(Debug)]
pub struct Lru<T> {
    /// Where in `entries` a key is.
    places: Vec<u32>,
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    limit: usize,
}

impl<T> Lru<T> {
    /// None yet; at most `limit` later.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            places: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            limit: limit.max(1),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// How many there can be.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of `key`, which is the most recently used from now on.
    #[inline]
    pub fn get(&mut self, key: usize) -> Option<&mut T> {
        let place = self.places.get(key).copied().filter(|&place| place != NONE)?;
        if self.newest != place {
            self.unlink(place);
            self.link_newest(place);
        }
        self.entries[place as usize].value.as_mut()
    }

    /// Adds a value as the most recently used. Returns what has to go for it: its former value, or
    /// the least recently used one if there are too many.
    pub fn insert(&mut self, key: usize, value: T) -> Option<(usize, T)> {
        if self.places.len() <= key {
            self.places.resize(key + 1, NONE);
        }
        let replaced = self.remove(key).map(|old| (key, old));
        let gone = match replaced {
            Some(old) => Some(old),
            None if self.len() >= self.limit => self.pop_oldest(),
            None => None,
        };
        let entry = Entry { key, value: Some(value), newer: NONE, older: NONE };
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).unwrap_or(NONE)
            }
        };
        self.places[key] = place;
        self.link_newest(place);
        gone
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: usize) -> Option<T> {
        let place = self.places.get(key).copied().filter(|&place| place != NONE)?;
        self.places[key] = NONE;
        self.unlink(place);
        self.free.push(place);
        self.entries[place as usize].value.take()
    }

    /// The least recently used one, which stays that.
    #[must_use]
    pub fn oldest(&self) -> Option<&T> {
        self.entries.get(self.oldest as usize)?.value.as_ref()
    }

    /// Takes the least recently used one out.
    pub fn pop_oldest(&mut self) -> Option<(usize, T)> {
        let key = self.entries.get(self.oldest as usize)?.key;
        self.remove(key).map(|value| (key, value))
    }

    fn unlink(&mut self, place: u32) {
        let Entry { newer, older, .. } = self.entries[place as usize];
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, place: u32) {
        let former = std::mem::replace(&mut self.newest, place);
        let entry = &mut self.entries[place as usize];
        (entry.newer, entry.older) = (NONE, former);
        match self.entries.get_mut(former as usize) {
            Some(entry) => entry.newer = place,
            None => self.oldest = place,
        }
    }
}
