//! Requests to be looked at: one by its index, or those that took longest.

use crate::crossing::Requests;
use crate::error::Error;
use crate::timeline::{Listener, play};
use crate::view::View;

/// All complete requests.
#[derive(Default)]
struct Complete {
    all: Vec<Requests>,
    keep: Option<usize>,
}

impl Listener for Complete {
    fn requests(&mut self, requests: &Requests) {
        self.all.push(*requests);
        // The slowest alone are kept, sorted out now and then.
        if let Some(keep) = self.keep
            && self.all.len() >= 2 * keep + 1024
        {
            self.all.sort_by_key(|requests| std::cmp::Reverse(requests.ns()));
            self.all.truncate(keep);
        }
    }
}

/// The requests that took longest, the slowest first; those that went together count as one.
pub(super) fn slowest(view: &View<'_>, count: usize) -> Vec<Requests> {
    let mut complete = Complete { all: Vec::new(), keep: Some(count) };
    play(view, &mut complete);
    complete.all.retain(|requests| !view.rings[requests.ring].posts_buffers());
    complete.all.sort_by_key(|requests| std::cmp::Reverse(requests.ns()));
    complete.all.truncate(count);
    complete.all
}

pub(super) fn find_request(view: &View<'_>, ring: &str, index: u64) -> Result<Requests, Error> {
    let names = || view.rings.iter().map(|ring| ring.name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(of) = view.rings.iter().position(|of| of.name == ring) else {
        return Err(Error::Absent(format!("no ring is called {ring}; there are {}", names())));
    };
    let mut complete = Complete::default();
    play(view, &mut complete);
    complete.all.retain(|requests| requests.ring == of);
    complete.all.sort_by_key(|requests| requests.first);
    let base = complete.all.first().map_or(0, |requests| requests.first);
    let wanted = base.saturating_add(index);
    let holds = |r: &&Requests| (r.first..r.first + u64::from(r.count)).contains(&wanted);
    match complete.all.iter().find(holds) {
        Some(found) => Ok(Requests { first: wanted, count: 1, ..*found }),
        None => Err(Error::Absent(format!(
            "no complete request {index} of {ring}; there are 0 to {}",
            complete.all.last().map_or(0, |r| r.first + u64::from(r.count) - base - 1)
        ))),
    }
}
