//! Which pages stay mapped, against a model that is too simple to be wrong.

use std::time::{Duration, Instant};

use blkif::back::lru::Lru;
use proptest::prelude::*;
use rings::Gref;

/// The same as a list, the most recently used last.
#[derive(Debug)]
struct Model {
    all: Vec<(Gref, u32, Instant)>,
    limit: usize,
}

impl Model {
    fn get(&mut self, gref: Gref, now: Instant) -> Option<u32> {
        let at = self.all.iter().position(|(g, ..)| *g == gref)?;
        let (_, value, _) = self.all.remove(at);
        self.all.push((gref, value, now));
        Some(value)
    }

    fn insert(&mut self, gref: Gref, value: u32, now: Instant) -> Option<(Gref, u32)> {
        let same = self.all.iter().position(|(g, ..)| *g == gref);
        let gone = match same {
            Some(at) => Some(self.all.remove(at)),
            None if self.all.len() >= self.limit => Some(self.all.remove(0)),
            None => None,
        };
        self.all.push((gref, value, now));
        gone.map(|(gref, value, _)| (gref, value))
    }

    fn pop_idle(&mut self, now: Instant, idle: Duration) -> Option<(Gref, u32)> {
        let (_, _, used) = self.all.first()?;
        (now.duration_since(*used) >= idle).then(|| self.all.remove(0)).map(|(g, v, _)| (g, v))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Get(u32),
    Insert(u32, u32),
    Remove(u32),
    Pop,
    Idle(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let gref = 0_u32..24;
    prop_oneof![
        4 => gref.clone().prop_map(Step::Get),
        4 => (gref.clone(), any::<u32>()).prop_map(|(g, v)| Step::Insert(g, v)),
        1 => gref.prop_map(Step::Remove),
        1 => Just(Step::Pop),
        1 => (0_u64..50).prop_map(Step::Idle),
        2 => (0_u64..20).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn it_forgets_what_the_model_forgets(
        limit in 1_usize..12,
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut lru = Lru::new(limit);
        let mut model = Model { all: Vec::new(), limit };
        let mut now = Instant::now();
        for step in steps {
            match step {
                Step::Get(g) => {
                    prop_assert_eq!(lru.get(Gref(g), now).copied(), model.get(Gref(g), now));
                }
                Step::Insert(g, v) => {
                    prop_assert_eq!(lru.insert(Gref(g), v, now), model.insert(Gref(g), v, now));
                }
                Step::Remove(g) => {
                    let at = model.all.iter().position(|(gref, ..)| *gref == Gref(g));
                    let expected = at.map(|at| model.all.remove(at).1);
                    prop_assert_eq!(lru.remove(Gref(g)), expected);
                }
                Step::Pop => {
                    let some = !model.all.is_empty();
                    let expected = some.then(|| model.all.remove(0)).map(|(g, v, _)| (g, v));
                    prop_assert_eq!(lru.pop_oldest(), expected);
                }
                Step::Idle(ms) => {
                    let idle = Duration::from_millis(ms);
                    prop_assert_eq!(lru.pop_idle(now, idle), model.pop_idle(now, idle));
                }
                Step::Wait(ms) => now += Duration::from_millis(ms),
            }
            prop_assert_eq!(lru.len(), model.all.len());
            prop_assert!(lru.len() <= limit);
        }
    }
}
