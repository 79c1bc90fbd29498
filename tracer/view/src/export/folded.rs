//! Folded stacks: one line for each stack that ever was, with its own nanoseconds. What makes flame
//! graphs reads it (`flamegraph.pl`, `inferno-flamegraph`, speedscope).

use std::collections::HashMap;
use std::io::{self, Write};

use crate::name::NameId;
use crate::stack::{Slice, Stack};
use crate::timeline::{At, Listener};
use crate::view::View;

/// Adds up while a trace is played.
pub(crate) struct Folded<'v, 'a> {
    view: &'v View<'a>,
    sums: HashMap<(usize, Vec<NameId>), i64>,
}

impl<'v, 'a> Folded<'v, 'a> {
    pub(crate) fn new(view: &'v View<'a>) -> Self {
        Self { view, sums: HashMap::new() }
    }

    /// Writes what it came to, in the order of the alphabet. Gives the octets.
    pub(crate) fn finish<W: Write>(self, to: &mut W) -> io::Result<u64> {
        let plain = |text: &str| text.replace([';', '\n'], ":");
        let labels = self.view.labels();
        let mut lines: Vec<String> = Vec::with_capacity(self.sums.len());
        for ((thread, stack), ns) in &self.sums {
            let names = stack.iter().map(|&name| plain(&self.view.names.get(name).text));
            let all: Vec<String> = [plain(&labels[*thread])].into_iter().chain(names).collect();
            lines.push(format!("{} {ns}\n", all.join(";")));
        }
        lines.sort_unstable();
        lines.iter().try_for_each(|line| to.write_all(line.as_bytes()))?;
        to.flush()?;
        Ok(lines.iter().map(|line| line.len() as u64).sum())
    }
}

impl Listener for Folded<'_, '_> {
    fn end(&mut self, at: At, slice: &Slice, stack: &Stack) {
        let around = stack.frames().iter().filter(|frame| frame.shown).map(|frame| frame.name);
        let stack = around.chain([slice.frame.name]).collect();
        *self.sums.entry((at.thread, stack)).or_default() += slice.self_ns();
    }
}
