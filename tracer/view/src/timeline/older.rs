//! What had begun before a thread's records do, or while recording was off, as far as exits show it.

use tracer::format::Event;

use crate::stack::Opener;

/// What exits show to have been open, outermost first: before the first of these events, and at each
/// [`Event::Resume`] among them.
pub(super) fn frames(events: impl Iterator<Item = Event>) -> Vec<Vec<Opener>> {
    let mut past = Past::default();
    past.part();
    for event in events {
        past.event(event);
    }
    for frames in &mut past.older {
        frames.reverse();
    }
    past.older
}

/// How many of these frames, the outermost first, are open whatever was done while recording was off: the end of a
/// span is never left out.
pub(super) fn sure(
    mut frames: impl DoubleEndedIterator<Item = Opener> + ExactSizeIterator,
) -> usize {
    frames.rposition(is_site).map_or(0, |at| at + 1)
}

fn is_site(opener: Opener) -> bool {
    matches!(opener, Opener::Site(_))
}

#[derive(Default)]
struct Past {
    /// The innermost last.
    open: Vec<Opener>,
    /// For each switching on what had begun besides, the innermost first.
    older: Vec<Vec<Opener>>,
    /// Those of them of which something may still be open, the last one last, and how many frames were so
    /// when it was, as is known.
    reach: Vec<Reach>,
    /// The function that is just ending with a call, by which the span in it has yet to say that it ends.
    leaving: Option<Opener>,
}

#[derive(Clone, Copy, Default)]
struct Reach {
    part: usize,
    known: usize,
}

impl Past {
    /// Records from one switching on to the next.
    fn part(&mut self) {
        self.reach.push(Reach { part: self.older.len(), known: self.open.len() });
        self.older.push(Vec::new());
    }

    fn last(&self) -> Reach {
        self.reach.last().copied().unwrap_or_default()
    }

    fn event(&mut self, event: Event) {
        let leaving = self.leaving.take();
        if let Event::Exit { site, .. } = event {
            self.end(Opener::Site(site));
        }
        if let Some(function) = leaving {
            self.end(function);
        }
        match event {
            Event::Enter { site, .. } => self.open.push(Opener::Site(site)),
            Event::FunctionEnter(id) => self.open.push(Opener::Function(id)),
            Event::FunctionExit(id) => self.end(Opener::Function(id)),
            Event::FunctionTail(id) => self.leave(Opener::Function(id)),
            Event::Resume => {
                self.open.truncate(sure(self.open.iter().copied()));
                self.part();
            }
            _ => {}
        }
    }

    fn leave(&mut self, function: Opener) {
        match self.open[self.last().known..] {
            [.., around, last] if is_site(last) && around == function => {
                self.leaving = Some(function);
            }
            // A span that has begun since, in a function that has not.
            [.., last] if is_site(last) && !self.open.contains(&function) => {
                self.leaving = Some(function);
            }
            _ => self.end(function),
        }
    }

    fn end(&mut self, ends: Opener) {
        match self.open.iter().rposition(|&opener| opener == ends) {
            Some(at) => {
                self.open.truncate(at);
                // What ends from now on was further out.
                while self.last().known > at {
                    self.reach.pop();
                }
            }
            None => {
                let Reach { part, known } = self.last();
                // Sites' exits are never missing: what is open inside belongs to what ends here.
                self.open.truncate(known);
                self.older[part].push(ends);
            }
        }
    }
}
