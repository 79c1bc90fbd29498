//! The ports and grants of a lab, as people read them.

use std::fmt::Write as _;

/// A table of ports of the host's lines about them.
pub(super) fn ports(lines: &str) -> String {
    let mut out = "  dom  port  remote  its port  event\n".to_owned();
    for line in lines.lines() {
        let [dom, port, remote, bound, words] = fields(line);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{dom:>5}{port:>6}{remote:>8}{bound:>10}  {words}");
    }
    out
}

/// Grants that follow one another, in one line.
struct Run<'a> {
    grefs: (u32, u32),
    frames: (u32, u32),
    /// Whose, to whom, how, and whether they are in use.
    like: [&'a str; 4],
}

impl<'a> Run<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let [dom, gref, to, frame, access, used] = fields(line);
        let (gref, frame) = (gref.parse().ok()?, frame.parse().ok()?);
        let like = [dom, to, access, used];
        Some(Self { grefs: (gref, gref), frames: (frame, frame), like })
    }

    /// Whether `next` goes on where this ends; then it is part of it.
    fn takes(&mut self, next: &Self) -> bool {
        let follows = self.like == next.like
            && next.grefs.0.checked_sub(1) == Some(self.grefs.1)
            && next.frames.0.checked_sub(1) == Some(self.frames.1);
        if follows {
            (self.grefs.1, self.frames.1) = (next.grefs.1, next.frames.1);
        }
        follows
    }
}

/// A table of grants of the host's lines about them.
pub(super) fn grants(lines: &str) -> String {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for run in lines.lines().filter_map(Run::of) {
        if !runs.last_mut().is_some_and(|last| last.takes(&run)) {
            runs.push(run);
        }
    }
    let mut out = "  dom         grefs  to        frames  access  use\n".to_owned();
    for Run { grefs, frames, like: [dom, to, access, used] } in runs {
        let (grefs, frames) = (span(grefs), span(frames));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{dom:>5}{grefs:>14}{to:>4}{frames:>14}  {access:<6}  {used}");
    }
    out
}

fn span((first, last): (u32, u32)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// The fields of a line; those that are missing are empty.
fn fields<const N: usize>(line: &str) -> [&str; N] {
    let mut all = line.split('\t');
    std::array::from_fn(|_| all.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_in_a_row_are_one_line() {
        let lines = "1\t0\t0\t65\trw\tmapped\n1\t8\t0\t70\tro\t-\n1\t9\t0\t71\tro\t-\n1\t10\t0\t99\tro\t-\n";
        let shown = grants(lines);
        let shown: Vec<Vec<&str>> =
            shown.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            shown,
            [
                ["1", "0", "0", "65", "rw", "mapped"],
                ["1", "8-9", "0", "70-71", "ro", "-"],
                ["1", "10", "0", "99", "ro", "-"]
            ]
        );
    }

    #[test]
    fn ports_are_a_line_each() {
        let shown = ports("0\t1\t1\t2\tpending,masked\n1\t2\t0\t-\t-\n");
        let shown: Vec<&str> = shown.lines().skip(1).map(str::trim).collect();
        assert!(shown[0].ends_with("pending,masked") && shown[1].ends_with("-  -"), "{shown:?}");
    }
}
