//! Lines of many guests on one stderr, each with its guest's number (`--sink stderr`).

use std::io;

/// Longest line kept until its end comes.
const LONGEST: usize = 4096;

/// One guest's lines.
#[derive(Debug)]
pub(super) struct Printer {
    domid: u16,
    /// The beginning of a line whose end has not come.
    part: Vec<u8>,
}

impl Printer {
    pub(super) fn new(domid: u16) -> Self {
        Self { domid, part: Vec::new() }
    }

    /// Prints the lines that end in `bytes`.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        // A closed stderr is no reason to stop reading consoles.
        let _ = self.print(bytes, &mut io::stderr().lock());
    }

    fn print(&mut self, bytes: &[u8], to: &mut impl io::Write) -> io::Result<()> {
        for &byte in bytes {
            match byte {
                b'\r' => {}
                b'\n' => self.end_line(to)?,
                byte => self.part.push(byte),
            }
            if self.part.len() >= LONGEST {
                self.end_line(to)?;
            }
        }
        Ok(())
    }

    /// One write, so that lines of several guests are not mixed. Escapes are shown, not obeyed.
    fn end_line(&mut self, to: &mut impl io::Write) -> io::Result<()> {
        let text = String::from_utf8_lossy(&self.part);
        let shown: String = text.chars().map(|c| if c.is_control() { '.' } else { c }).collect();
        let line = format!("domain {}: {shown}\n", self.domid);
        self.part.clear();
        to.write_all(line.as_bytes())
    }

    /// What has come of a line that will not end any more.
    pub(super) fn end(&mut self) {
        if !self.part.is_empty() {
            let _ = self.end_line(&mut io::stderr().lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_cannot_do_anything_to_a_terminal() {
        let (mut printer, mut out) = (Printer::new(3), Vec::new());
        for part in ["one\r\ntw", "o \x1b[2J\n", "rest"] {
            printer.print(part.as_bytes(), &mut out).expect("a vector takes all");
        }
        assert_eq!(String::from_utf8_lossy(&out), "domain 3: one\ndomain 3: two .[2J\n");
    }
}
