//! The files of a uftrace data directory beside those with the records: who is who, and what is called how.
//! Their forms are those of uftrace's `utils/data-file.c`, `cmds/info.c` and `utils/symbol.c`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::name::NameId;
use crate::selection::Selection;
use crate::view::View;

/// The first number of a user event.
pub(super) const FIRST_EVENT: u64 = 1_000_000;
/// What the file `info` begins with.
const INFO_MAGIC: &[u8; 8] = b"Ftrace!\0";
/// The module that all names are symbols of, and where it would be in memory.
const MODULE: &str = "pvlab";
const BASE: u64 = 0x40_0000;
/// From where the stack is uftrace concludes which addresses are the kernel's: without it, all are.
const STACK: &str = "7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 [stack]\n";
/// Octets between two symbols.
const STEP: u64 = 16;
/// Numbers of processes and threads are below this; what has one that is taken gets another above.
const MOST_IDS: u64 = 1 << 22;

/// `uftrace_feat_bits`: there are sessions, symbols' addresses are relative to their module's, the
/// header says how deep stacks are, there are events.
const FEATURES: u64 = 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7;

/// Where a name's symbol is.
pub(super) fn address(name: NameId) -> u64 {
    BASE + (name.index() as u64 + 1) * STEP
}

/// A moment as uftrace counts time: nanoseconds of `CLOCK_MONOTONIC`.
pub(super) fn time(view: &View<'_>, ns: i64) -> u64 {
    view.clock.start.monotonic_ns.saturating_add_signed(ns)
}

/// `seconds.nanoseconds`.
fn stamp(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// A word without what has a meaning in these files.
fn word(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    text.chars().map(plain).collect()
}

/// One line.
fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A data directory in the making.
pub(super) struct Folder<'v, 'a> {
    view: &'v View<'a>,
    to: PathBuf,
    /// Of each process and of each thread.
    pids: Vec<u64>,
    tids: Vec<u64>,
}

impl<'v, 'a> Folder<'v, 'a> {
    /// An empty one: new, or what was in it is gone.
    pub(super) fn new(view: &'v View<'a>, to: &Path) -> io::Result<Self> {
        if to.exists() {
            clear(to)?;
        } else {
            fs::create_dir(to)?;
        }
        let pids = distinct(view.processes.iter().map(|process| process.pid));
        let tids = distinct(view.threads.iter().map(|thread| thread.tid));
        Ok(Self { view, to: to.into(), pids, tids })
    }

    /// The file for a thread's records.
    pub(super) fn task(&self, thread: usize) -> io::Result<File> {
        File::create(self.to.join(format!("{}.dat", self.tids[thread])))
    }

    /// Writes all that is not records; gives the octets.
    pub(super) fn finish(
        &self,
        events: &[(u64, String)],
        selection: &Selection,
    ) -> io::Result<u64> {
        let mut octets = 0;
        let mut write = |name: &str, content: &[u8]| {
            octets += content.len() as u64;
            fs::write(self.to.join(name), content)
        };
        write("info", &self.info())?;
        write("task.txt", self.tasks().as_bytes())?;
        write(&format!("{MODULE}.sym"), self.symbols().as_bytes())?;
        let end = BASE + (self.view.names.len() as u64 + 2) * STEP;
        let module = format!("{BASE:012x}-{end:012x} r-xp 00000000 00:00 0 {MODULE}\n");
        for process in 0..self.pids.len() {
            write(&format!("sid-{}.map", session(process)), (module.clone() + STACK).as_bytes())?;
        }
        let events = events.iter().map(|(number, name)| format!("EVENT: {number} {name}\n"));
        write("events.txt", events.collect::<String>().as_bytes())?;
        write("extern.dat", self.words(selection).as_bytes())?;
        Ok(octets)
    }

    /// A header as `struct uftrace_file_header` is, and lines behind it.
    fn info(&self) -> Vec<u8> {
        let said = |key: &str| self.view.run.iter().find(|(name, _)| name == key);
        let mut lines = vec![(0, format!("exename:{MODULE}\n"))];
        if let Some((_, command)) = said("command") {
            lines.push((3, format!("cmdline:{}\n", line(command))));
        }
        let tids: Vec<String> = self.tids.iter().map(u64::to_string).collect();
        let (count, tids) = (tids.len(), tids.join(","));
        let tasks = format!("taskinfo:lines=2\ntaskinfo:nr_tid={count}\ntaskinfo:tids={tids}\n");
        lines.push((7, tasks));
        let mut info = INFO_MAGIC.to_vec();
        info.extend(4_u32.to_le_bytes());
        // The header's own size; little endian; 64 bits.
        info.extend(40_u16.to_le_bytes());
        info.extend([1, 2]);
        info.extend(FEATURES.to_le_bytes());
        info.extend(lines.iter().fold(0_u64, |mask, (bit, _)| mask | 1 << bit).to_le_bytes());
        info.extend(super::DEEPEST.to_le_bytes());
        info.extend(lines.into_iter().flat_map(|(_, line)| line.into_bytes()));
        info
    }

    /// Sessions, each with its tasks.
    fn tasks(&self) -> String {
        let mut text = String::new();
        for (at, process) in self.view.processes.iter().enumerate() {
            let mine = || self.view.threads.iter().enumerate().filter(|(_, t)| t.process == at);
            let first = |ticks| time(self.view, self.view.ns(process, ticks));
            let began = mine().filter_map(|(_, t)| t.records().next()).map(|r| first(r.ticks));
            let began = stamp(began.min().unwrap_or(time(self.view, 0)));
            let (pid, name) = (self.pids[at], word(&process.name));
            let _ = writeln!(
                text,
                "SESS timestamp={began} pid={pid} sid={} exename=\"{name}\"",
                session(at)
            );
            for (thread, _) in mine() {
                let tid = self.tids[thread];
                let _ = writeln!(text, "TASK timestamp={began} tid={tid} pid={pid}");
            }
        }
        text
    }

    fn symbols(&self) -> String {
        let mut text = format!("# symbols: {}\n# path name: {MODULE}\n", self.view.names.len());
        for (at, name) in self.view.names.iter().enumerate() {
            let _ = writeln!(text, "{:016x} T {}", (at as u64 + 1) * STEP, line(&name.text));
        }
        let end = (self.view.names.len() as u64 + 1) * STEP;
        let _ = writeln!(text, "{end:016x} ? __sym_end");
        text
    }

    /// What the control plane said.
    fn words(&self, selection: &Selection) -> String {
        let shown = self.view.notes.iter().filter(|said| selection.shows_at(said.at));
        shown.fold(String::new(), |mut text, said| {
            let process = &self.view.processes[said.process].name;
            let (stamp, words) = (stamp(time(self.view, said.at)), line(&said.note.words));
            let _ = write!(text, "{stamp} {process}: {words}");
            for (name, value) in &said.note.fields {
                let _ = write!(text, " {}={}", line(name), line(value));
            }
            text + "\n"
        })
    }
}

/// A session's name: 16 octets.
fn session(process: usize) -> String {
    format!("{process:016x}")
}

/// Numbers of which no two are alike.
fn distinct(numbers: impl Iterator<Item = u32>) -> Vec<u64> {
    let mut taken = HashSet::new();
    let free = |number| {
        let mut number = u64::from(number);
        while !taken.insert(number) {
            number += MOST_IDS;
        }
        number
    };
    numbers.map(free).collect()
}

/// Removes what an earlier export, or uftrace itself, has put into a folder; nothing from any other.
fn clear(folder: &Path) -> io::Result<()> {
    let is_ours = fs::read(folder.join("info")).is_ok_and(|info| info.starts_with(INFO_MAGIC));
    let mut entries = fs::read_dir(folder)?;
    if !is_ours {
        return match entries.next() {
            None => Ok(()),
            Some(_) => Err(io::Error::other("the folder has something else in it; name a new one")),
        };
    }
    const KINDS: [&str; 4] = ["dat", "sym", "map", "txt"];
    for entry in entries {
        let path = entry?.path();
        let kind = path.extension().and_then(|kind| kind.to_str());
        if path.file_name().is_some_and(|name| name == "info")
            || kind.is_some_and(|kind| KINDS.contains(&kind))
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
