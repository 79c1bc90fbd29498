//! A table of all slices for spreadsheets and data frames: one line each, in the order of their ends.

use std::io::{self, Write};

use super::text::Text;
use crate::stack::{How, Slice, Stack};
use crate::timeline::{At, Listener};
use crate::view::View;

/// Writes while a trace is played.
pub(crate) struct Csv<'v, 'a, W> {
    view: &'v View<'a>,
    out: Text<W>,
    threads: Vec<String>,
    names: Vec<String>,
}

impl<'v, 'a, W: Write> Csv<'v, 'a, W> {
    pub(crate) fn new(view: &'v View<'a>, to: W) -> Self {
        let mut out = Text::new(to);
        out.raw("process,thread,name,category,start_ns,duration_ns,self_ns,depth,arg,result,end\n");
        let threads = view.threads.iter().map(|thread| {
            let title = &view.processes[thread.process].title;
            format!("{},{}", quoted(title), quoted(&thread.name))
        });
        let names = view
            .names
            .iter()
            .map(|name| format!(",{},{},", quoted(&name.text), quoted(&name.category)));
        Self { view, out, threads: threads.collect(), names: names.collect() }
    }

    pub(crate) fn finish(self) -> io::Result<(W, u64)> {
        self.out.finish()
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

impl<W: Write> Listener for Csv<'_, '_, W> {
    fn end(&mut self, at: At, slice: &Slice, _: &Stack) {
        let frame = &slice.frame;
        let name = self.view.names.get(frame.name);
        let out = &mut self.out;
        out.raw(&self.threads[at.thread]).raw(&self.names[frame.name.index()]);
        if frame.start < 0 {
            out.raw("-");
        }
        out.number(frame.start.unsigned_abs()).raw(",").number(slice.ns().unsigned_abs());
        out.raw(",").number(slice.self_ns().unsigned_abs());
        out.raw(",").number(slice.depth as u64).raw(",");
        if !name.arg.is_empty() {
            out.number(frame.arg.into());
        }
        out.raw(",");
        if !name.result.is_empty() {
            out.number(slice.result.into());
        }
        out.raw(match slice.how {
            How::Returned => ",returned\n",
            How::Tail => ",tail call\n",
            How::Unwound => ",unwound\n",
            How::Inferred => ",inferred\n",
            How::Open => ",open\n",
        });
    }
}
