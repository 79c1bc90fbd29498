//! Lines of many guests on one stderr, each with its guest's number (`--sink stderr`).

use std::fmt::Write as _;
use std::io;

/// Longest line kept until its end comes.
const LONGEST: usize = 4096;

/// One guest's lines.
#[derive(Debug)]
pub(super) struct Printer {
    domid: u16,
    /// The beginning of a line whose end has not come.
    part: Vec<u8>,
    /// Lines whose end has come, as they are shown.
    lines: String,
}

impl Printer {
    pub(super) fn new(domid: u16) -> Self {
        Self { domid, part: Vec::new(), lines: String::new() }
    }

    /// Prints the lines that end in `bytes`.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.print(&mut io::stderr().lock());
    }

    /// What has come of a line that will not end any more.
    pub(super) fn end(&mut self) {
        if !self.part.is_empty() {
            self.end_line();
        }
        self.print(&mut io::stderr().lock());
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\r' => {}
                b'\n' => self.end_line(),
                byte => self.part.push(byte),
            }
            if self.part.len() >= LONGEST {
                self.end_line();
            }
        }
    }

    /// Escapes are shown, not obeyed.
    fn end_line(&mut self) {
        let text = String::from_utf8_lossy(&self.part);
        let shown = text.chars().map(|c| if c.is_control() { '.' } else { c });
        // Writing to a String cannot fail.
        let _ = write!(self.lines, "domain {}: ", self.domid);
        self.lines.extend(shown);
        self.lines.push('\n');
        self.part.clear();
    }

    /// One write of whole lines, so that those of several guests are not mixed.
    fn print(&mut self, to: &mut impl io::Write) {
        // A closed stderr is no reason to stop reading consoles.
        let _ = to.write_all(self.lines.as_bytes());
        self.lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_cannot_do_anything_to_a_terminal() {
        let (mut printer, mut out) = (Printer::new(3), Vec::new());
        for part in ["one\r\ntw", "o \x1b[2J\n", "rest"] {
            printer.add(part.as_bytes());
            printer.print(&mut out);
        }
        assert_eq!(String::from_utf8_lossy(&out), "domain 3: one\ndomain 3: two .[2J\n");
    }
}
