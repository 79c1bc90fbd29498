//! What is kept, against a model that is too simple to be wrong.

use proptest::prelude::*;
use rings::lru::Lru;

/// The same as a list, the most recently used last.
#[derive(Debug)]
struct Model {
    all: Vec<(usize, u32)>,
    limit: usize,
}

impl Model {
    fn get(&mut self, key: usize) -> Option<u32> {
        let at = self.all.iter().position(|(k, _)| *k == key)?;
        let entry = self.all.remove(at);
        self.all.push(entry);
        Some(entry.1)
    }

    fn insert(&mut self, key: usize, value: u32) -> Option<(usize, u32)> {
        let same = self.all.iter().position(|(k, _)| *k == key);
        let gone = match same {
            Some(at) => Some(self.all.remove(at)),
            None if self.all.len() >= self.limit => Some(self.all.remove(0)),
            None => None,
        };
        self.all.push((key, value));
        gone
    }
}

#[derive(Clone, Debug)]
enum Step {
    Get(usize),
    Insert(usize, u32),
    Remove(usize),
    Pop,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0_usize..24;
    prop_oneof![
        4 => key.clone().prop_map(Step::Get),
        4 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Step::Insert(k, v)),
        1 => key.prop_map(Step::Remove),
        1 => Just(Step::Pop),
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
        for step in steps {
            match step {
                Step::Get(k) => prop_assert_eq!(lru.get(k).copied(), model.get(k)),
                Step::Insert(k, v) => prop_assert_eq!(lru.insert(k, v), model.insert(k, v)),
                Step::Remove(k) => {
                    let at = model.all.iter().position(|(key, _)| *key == k);
                    let expected = at.map(|at| model.all.remove(at).1);
                    prop_assert_eq!(lru.remove(k), expected);
                }
                Step::Pop => {
                    let expected = (!model.all.is_empty()).then(|| model.all.remove(0));
                    prop_assert_eq!(lru.pop_oldest(), expected);
                }
            }
            prop_assert_eq!(lru.oldest().copied(), model.all.first().map(|(_, value)| *value));
            prop_assert_eq!(lru.len(), model.all.len());
            prop_assert!(lru.len() <= limit);
        }
    }
}
