//! Which pages stay mapped: by gref, the least recently used first to go.
//!
//! Linux' blkback keeps a red-black tree and a list that it sweeps every 100 ms, and drops 5 % of
//! what is there when more than `max_persistent_grants` are. Here each gref has its place in a table
//! (grefs are small numbers, and only those that could be mapped get in), and the order is exact. Mapping
//! and unmapping is done by whoever owns this.

use std::time::{Duration, Instant};

use rings::Gref;

/// No entry.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry<T> {
    gref: Gref,
    value: Option<T>,
    used: Instant,
    newer: u32,
    older: u32,
}

/// Values by gref, in the order of their last use.
#[derive(Debug)]
pub struct Lru<T> {
    /// Where in `entries` a gref is.
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

    /// The value of `gref`, which is the most recently used from now on.
    #[inline]
    pub fn get(&mut self, gref: Gref, now: Instant) -> Option<&T> {
        let place = self.places.get(gref.0 as usize).copied().filter(|&place| place != NONE)?;
        if self.newest != place {
            self.unlink(place);
            self.link_newest(place);
        }
        let entry = &mut self.entries[place as usize];
        entry.used = now;
        entry.value.as_ref()
    }

    /// Adds a value as the most recently used. Returns what has to go for it: its former value, or
    /// the least recently used one if there are too many.
    pub fn insert(&mut self, gref: Gref, value: T, now: Instant) -> Option<(Gref, T)> {
        let at = gref.0 as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, NONE);
        }
        let replaced = self.remove(gref).map(|old| (gref, old));
        let gone = match replaced {
            Some(old) => Some(old),
            None if self.len() >= self.limit => self.pop_oldest(),
            None => None,
        };
        let entry = Entry { gref, value: Some(value), used: now, newer: NONE, older: NONE };
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
        self.places[at] = place;
        self.link_newest(place);
        gone
    }

    /// Takes a value out.
    pub fn remove(&mut self, gref: Gref) -> Option<T> {
        let place = self.places.get(gref.0 as usize).copied().filter(|&place| place != NONE)?;
        self.places[gref.0 as usize] = NONE;
        self.unlink(place);
        self.free.push(place);
        self.entries[place as usize].value.take()
    }

    /// Takes the least recently used one out.
    pub fn pop_oldest(&mut self) -> Option<(Gref, T)> {
        let gref = self.entries.get(self.oldest as usize)?.gref;
        self.remove(gref).map(|value| (gref, value))
    }

    /// Takes the least recently used one out if it has not been used for `idle`.
    pub fn pop_idle(&mut self, now: Instant, idle: Duration) -> Option<(Gref, T)> {
        let oldest = self.entries.get(self.oldest as usize)?;
        if now.saturating_duration_since(oldest.used) < idle {
            return None;
        }
        self.pop_oldest()
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
