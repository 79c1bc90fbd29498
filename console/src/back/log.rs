//! A console's log file. What the guest wrote is written there before anybody else sees it.
//!
//! Optional: the time at the start of each line, and dots for escapes, so that looking at a log
//! cannot do to a terminal what its guest wants (`--timestamp=guest`, `--replace-escape`).
//!
//! A guest cannot fill the disk (XSA-180): a log that has reached its limit becomes `NAME.1`, in the
//! place of the one before, and a new one begins. What fills no disk, a device or a pipe, stays where
//! it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rings::DomId;

/// Which logs to keep, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// A file; or a directory, in which each guest has `guest-N.log`.
    pub path: PathBuf,
    /// The time (UTC) at the start of each line.
    pub timestamps: bool,
    /// Dots instead of escapes.
    pub replace_escape: bool,
    /// Bytes of a file before the next one begins; a device or a pipe has none.
    pub limit: u64,
}

/// Pure: what a guest wrote, as it stands in its log.
#[derive(Debug)]
pub struct LogText {
    timestamps: bool,
    replace_escape: bool,
    /// The next byte begins a line.
    at_start: bool,
}

impl LogText {
    /// At the start of a line.
    #[must_use]
    pub fn new(timestamps: bool, replace_escape: bool) -> Self {
        Self { timestamps, replace_escape, at_start: true }
    }

    /// Whether the text is what the guest wrote, unchanged.
    fn is_plain(&self) -> bool {
        !self.timestamps && !self.replace_escape
    }

    /// Appends `bytes`, which came at `now` since 1970, to `out` as they are logged.
    pub fn put(&mut self, bytes: &[u8], now: Duration, out: &mut Vec<u8>) {
        for &byte in bytes {
            if std::mem::replace(&mut self.at_start, byte == b'\n') && self.timestamps {
                out.extend_from_slice(stamp(now).as_bytes());
            }
            out.push(if self.replace_escape && byte == ESC { b'.' } else { byte });
        }
    }
}

const ESC: u8 = 0x1b;

/// `[2026-11-21 18:39:13] `, of so long after 1970, UTC.
fn stamp(since: Duration) -> String {
    let seconds = since.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the leap day is their last; eras have 400 of them.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("[{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}] ")
}

/// Opens a file to go on where it ends, and says where that is. It is for its owner's eyes: consoles
/// show passwords.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

/// One console's log file.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// Where the file lies, if it is one that may be renamed.
    path: Option<PathBuf>,
    /// Bytes of the file, and how many they may become.
    len: u64,
    limit: u64,
    text: LogText,
    room: Vec<u8>,
    /// Bytes that could not be written.
    lost: u64,
}

impl Log {
    /// Opens it, to go on where it ends.
    pub(super) fn open(config: &LogConfig, front: DomId) -> io::Result<Self> {
        let mut path = config.path.clone();
        if path.is_dir() {
            path.push(format!("guest-{front}.log"));
        }
        let refused = |why: io::Error| {
            io::Error::new(why.kind(), format!("cannot write the log {}: {why}", path.display()))
        };
        let (file, len) = open(&path).map_err(refused)?;
        // What a name leads to is renamed, never the name: `/dev/stdout` may lead to a file.
        let is_file = file.metadata()?.is_file();
        let path = is_file.then(|| fs::canonicalize(&path)).transpose().map_err(refused)?;
        let text = LogText::new(config.timestamps, config.replace_escape);
        Ok(Self { file, path, len, limit: config.limit, text, room: Vec::new(), lost: 0 })
    }

    /// Writes what the guest wrote. A full disk does not stop a console: what cannot be logged is
    /// counted.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.room.clear();
        if !self.text.is_plain() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.text.put(bytes, now, &mut self.room);
        }
        if let Err(why) = self.append(bytes) {
            if self.lost == 0 {
                tracing::warn!(%why, "a console's log cannot be written");
            }
            self.lost += bytes.len() as u64;
        }
    }

    /// Appends `plain`, or what was made of it.
    fn append(&mut self, plain: &[u8]) -> io::Result<()> {
        let text = if self.text.is_plain() { plain } else { &self.room };
        let full = self.len > 0 && self.len + text.len() as u64 > self.limit;
        if let Some(path) = self.path.as_ref().filter(|_| full) {
            let mut old = path.clone().into_os_string();
            old.push(".1");
            fs::rename(path, old)?;
            (self.file, self.len) = open(path)?;
        }
        self.len += text.len() as u64;
        self.file.write_all(text)
    }

    /// Bytes that could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn times_are_told_as_people_tell_them() {
        for (seconds, text) in [
            (0, "[1970-01-01 00:00:00] "),
            (951_782_399, "[2000-02-28 23:59:59] "),
            (951_782_400, "[2000-02-29 00:00:00] "),
            (951_868_800, "[2000-03-01 00:00:00] "),
            (1_795_286_353, "[2026-11-21 18:39:13] "),
            (4_107_542_400, "[2100-03-01 00:00:00] "),
        ] {
            assert_eq!(stamp(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn lines_are_stamped_once_and_escapes_are_dots() {
        let mut text = LogText::new(true, true);
        let (mut out, now) = (Vec::new(), Duration::ZERO);
        for part in ["one\ntw", "o\x1b[2J\n", "\n", "three"] {
            text.put(part.as_bytes(), now, &mut out);
        }
        let stamp = stamp(now);
        let expected = format!("{stamp}one\n{stamp}two.[2J\n{stamp}\n{stamp}three");
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    fn plain(path: &Path) -> LogConfig {
        LogConfig { path: path.into(), timestamps: false, replace_escape: false, limit: 1000 }
    }

    #[test]
    fn a_log_is_never_longer_than_its_limit_and_the_one_before_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let mut log = Log::open(&plain(&path), DomId(7)).expect("a log");
        for n in 0..25 {
            log.write(format!("{n:099}\n").as_bytes());
        }
        let read = |path: &Path| fs::read_to_string(path).expect("a log");
        let (new, old) = (read(&path), read(&dir.path().join("log.1")));
        assert_eq!((new.lines().count(), old.lines().count(), log.lost()), (5, 10, 0));
        assert!(old.ends_with("19\n") && new.ends_with("24\n"));
        // One that is opened again knows how long it is.
        drop(log);
        let mut log = Log::open(&plain(&path), DomId(7)).expect("a log");
        log.write(&[b'x'; 600]);
        assert_eq!((read(&path).len(), read(&dir.path().join("log.1"))), (600, new));
    }

    #[test]
    fn what_is_no_file_keeps_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = || {
            let mut names: Vec<_> = fs::read_dir(&dir).expect("a directory").flatten().collect();
            names.sort_by_key(fs::DirEntry::file_name);
            names.into_iter().map(|entry| entry.file_name()).collect::<Vec<_>>()
        };
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let mut reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("a reader");
        let mut log = Log::open(&LogConfig { limit: 10, ..plain(&pipe) }, DomId(7)).expect("a log");
        for line in [b"a line of 18 bytes", b"and one more of 18"] {
            log.write(line);
            assert_eq!(names(), ["pipe"]);
            let mut seen = [0; 18];
            reader.read_exact(&mut seen).expect("written");
            assert_eq!((&seen, log.lost()), (line, 0));
        }
        // The file that a name leads to is another matter; the name stays.
        let (name, file) = (dir.path().join("stdout"), dir.path().join("file"));
        std::os::unix::fs::symlink(&file, &name).expect("a name");
        let mut log = Log::open(&LogConfig { limit: 10, ..plain(&name) }, DomId(7)).expect("a log");
        log.write(b"0123456789");
        log.write(b"abc");
        let all = ["file", "file.1", "pipe", "stdout"];
        assert_eq!(names(), all);
        assert_eq!(fs::read_link(&name).expect("still a name"), file);
        assert_eq!(fs::read(&name).expect("a log"), b"abc");
    }

    #[test]
    fn a_log_goes_on_where_it_ended_and_a_directory_has_one_for_each_guest() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = plain(dir.path());
        for part in [b"one\n", b"two\n"] {
            Log::open(&config, DomId(7)).expect("a log").write(part);
        }
        let written = fs::read(dir.path().join("guest-7.log")).expect("a log");
        assert_eq!(written, b"one\ntwo\n");
        let nowhere = LogConfig { path: dir.path().join("no/such/file"), ..config };
        let why = Log::open(&nowhere, DomId(7)).expect_err("no such directory").to_string();
        assert!(why.contains("no/such/file") && why.contains("No such"), "{why}");
    }
}
