//! What is left of a file that was cut off, in words.

use std::fmt;

/// What there is of a file that ends early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutOff {
    /// At which octet the part begins that is not whole.
    pub at: usize,
    /// Processes.
    pub processes: usize,
    /// Threads that are whole.
    pub threads: usize,
    /// Of the thread in the middle of which it ends: records that are there, and that there were.
    pub within: Option<(u64, u64)>,
}

/// To be put behind `the file was`.
impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processes = if self.processes == 1 { "process" } else { "processes" };
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        write!(f, "cut off: all it has is {} {processes} and ", self.processes)?;
        write!(f, "{} whole {threads}", self.threads)?;
        if let Some((there, all)) = self.within {
            write!(f, ", and {there} of the {all} events of one more")?;
        }
        f.write_str("; what came behind is missing")
    }
}
