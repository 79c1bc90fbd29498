//! The line that is being typed: echo, corrections, control keys. Pure: bytes in, bytes and a line out.

/// Longest line; what is typed beyond it rings the bell.
const LONGEST: usize = 200;
const BELL: u8 = 0x07;

/// What a byte made of the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing that anybody has to know of.
    Nothing,
    /// It is whole.
    Line(String),
    /// It was given up (Ctrl-C).
    Cancelled,
    /// There will be no more (Ctrl-D on an empty line).
    End,
}

/// A line under way.
#[derive(Debug, Default)]
pub(super) struct Editor {
    line: Vec<u8>,
    /// How far an escape sequence (a cursor key) has come; nothing of it is meant for us.
    escape: Escape,
    /// The last byte was CR: a LF belongs to it.
    after_cr: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    Inside,
}

impl Editor {
    /// Deals with one byte that was typed. What is to be seen of it is appended to `echo`.
    pub(super) fn key(&mut self, byte: u8, echo: &mut Vec<u8>) -> Typed {
        if self.in_escape(byte) {
            return Typed::Nothing;
        }
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        match byte {
            b'\n' if after_cr => {}
            b'\r' | b'\n' => {
                echo.extend_from_slice(b"\r\n");
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                return Typed::Line(line);
            }
            // Ctrl-C.
            0x03 => {
                self.line.clear();
                echo.extend_from_slice(b"^C\r\n");
                return Typed::Cancelled;
            }
            // Ctrl-D.
            0x04 if self.line.is_empty() => return Typed::End,
            // Backspace, as either of the two keys sends it.
            0x7f | 0x08 => self.erase(1, echo),
            // Ctrl-U: all; Ctrl-W: a word.
            0x15 => self.erase(usize::MAX, echo),
            0x17 => self.erase_word(echo),
            b' '..=0x7e | 0x80.. => self.insert(byte, echo),
            _ => echo.push(BELL),
        }
        Typed::Nothing
    }

    fn in_escape(&mut self, byte: u8) -> bool {
        self.escape = match (&self.escape, byte) {
            (Escape::None, 0x1b) => Escape::Begun,
            (Escape::None, _) => return false,
            (Escape::Begun, b'[' | b'O') => Escape::Inside,
            // Parameters go on; anything else ends it.
            (Escape::Inside, b' '..=b'?') => Escape::Inside,
            (Escape::Begun | Escape::Inside, _) => Escape::None,
        };
        true
    }

    fn insert(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.line.len() < LONGEST {
            self.line.push(byte);
            echo.push(byte);
        } else {
            echo.push(BELL);
        }
    }

    fn erase(&mut self, most: usize, echo: &mut Vec<u8>) {
        for _ in 0..most.min(self.line.len()) {
            // A character of several bytes goes as one, and is one on the screen.
            while self.line.pop().is_some_and(|byte| (0x80..0xc0).contains(&byte)) {}
            echo.extend_from_slice(b"\x08 \x08");
            if self.line.is_empty() {
                break;
            }
        }
    }

    fn erase_word(&mut self, echo: &mut Vec<u8>) {
        while self.line.last() == Some(&b' ') {
            self.erase(1, echo);
        }
        while self.line.last().is_some_and(|&byte| byte != b' ') {
            self.erase(1, echo);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(typed: &[u8]) -> (Vec<Typed>, Vec<u8>) {
        let (mut editor, mut echo) = (Editor::default(), Vec::new());
        let made = typed.iter().map(|&byte| editor.key(byte, &mut echo));
        (made.filter(|made| *made != Typed::Nothing).collect(), echo)
    }

    fn line(text: &str) -> Typed {
        Typed::Line(text.into())
    }

    #[test]
    fn lines_end_with_either_end_or_both() {
        let (made, echo) = lines(b"a\rb\nc\r\nd\r");
        assert_eq!(made, [line("a"), line("b"), line("c"), line("d")]);
        assert_eq!(echo, b"a\r\nb\r\nc\r\nd\r\n");
        assert_eq!(lines(b"\r\r").0, [line(""), line("")]);
    }

    #[test]
    fn corrections_are_made_and_seen() {
        assert_eq!(lines(b"hepp\x7f\x7flp\r").0, [line("help")]);
        assert_eq!(lines(b"x\x08\x08\x08y\r").0, [line("y")]);
        assert_eq!(lines(b"one two\x17three\r").0, [line("one three")]);
        assert_eq!(lines(b"gone\x15back\r").0, [line("back")]);
        assert_eq!(lines("aé\x7fb\r".as_bytes()).0, [line("ab")]);
        assert_eq!(lines(b"ab\x7f").1, b"ab\x08 \x08");
    }

    #[test]
    fn control_keys_mean_what_they_mean_elsewhere() {
        assert_eq!(lines(b"half\x03\x04").0, [Typed::Cancelled, Typed::End]);
        assert_eq!(lines(b"a\x04b\r").0, [line("ab")]);
        let (made, echo) = lines(b"\x1b[Aup\x1b[1;5C\x1bOB!\r");
        assert_eq!((made, echo), (vec![line("up!")], b"up!\r\n".to_vec()));
    }

    #[test]
    fn no_line_is_endless() {
        let (made, echo) = lines(&[[b'x'; 1000].as_slice(), b"\r"].concat());
        assert_eq!(made, [line(&"x".repeat(LONGEST))]);
        assert_eq!(echo.iter().filter(|&&byte| byte == BELL).count(), 1000 - LONGEST);
    }
}
