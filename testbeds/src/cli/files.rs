//! The files that one command line names: two options that write, or one that writes and one that reads, must not
//! mean the same file. What each file must be on its own is said where its option is read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::refusal::Refusal;
use super::{JsonTo, resolve};
use crate::config::{DaemonConfig, DiskConfig, Pictures, SinkKind, TraceTo};

/// Links on the way to a file that is not there yet; the system follows as many.
const LINKS: usize = 40;

/// Files of one command line, in the order in which they are to be complained about.
#[derive(Default)]
pub(super) struct Files<'a>(Vec<Named<'a>>);

struct Named<'a> {
    option: &'static str,
    /// As it was typed.
    path: &'a Path,
    /// Where it is, if that is not what was typed.
    at: Option<PathBuf>,
    written: bool,
}

impl<'a> Files<'a> {
    /// What a stream is made of, and where it goes.
    pub(super) fn of_stream(file: Option<&'a PathBuf>, out: Option<&'a PathBuf>) -> Self {
        let (file, out) = (file.map(PathBuf::as_path), out.map(PathBuf::as_path));
        Self::default().read("--file", file).written("--out", out)
    }

    /// Where a console's output goes, and its pictures.
    pub(super) fn of_console(daemon: &'a DaemonConfig, pictures: &'a Pictures) -> Self {
        let sink = match &daemon.sink {
            SinkKind::File(path) => Some(path.as_path()),
            _ => None,
        };
        let files = Self::default().written("--sink", sink).written("--log", daemon.log.as_deref());
        files.written("--csv", pictures.csv.as_deref()).written("--svg", pictures.svg.as_deref())
    }

    /// What a disk is in.
    pub(super) fn of_disk(disk: &'a DiskConfig) -> Self {
        Self::default().written("--disk", disk.disk.file().map(PathBuf::as_path))
    }

    /// One that is read.
    pub(super) fn read(mut self, option: &'static str, path: Option<&'a Path>) -> Self {
        self.0.extend(path.map(|path| Named { option, path, at: None, written: false }));
        self
    }

    /// One that is written.
    pub(super) fn written(mut self, option: &'static str, path: Option<&'a Path>) -> Self {
        self.0.extend(path.map(|path| Named { option, path, at: None, written: true }));
        self
    }

    /// What every run may write.
    pub(super) fn results(self, json: Option<&'a JsonTo>, trace: Option<&'a TraceTo>) -> Self {
        let json = json.and_then(|to| match to {
            JsonTo::File(path) => Some(path.as_path()),
            JsonTo::Stdout => None,
        });
        let mut files = self.written("-J", json);
        if let Some(trace) = trace {
            let (option, path) = ("--trace", trace.file.as_path());
            files = files.written(option, Some(path));
            let beside = Some(trace.lossless()).filter(|beside| beside != path);
            files.0.extend(beside.map(|at| Named { option, path, at: Some(at), written: true }));
        }
        files
    }

    /// Refuses the line if two of them are one file and one of the two is written.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        for (n, file) in self.0.iter().enumerate() {
            let clash = |other: &&Named<'_>| {
                (file.written || other.written) && same(file.place(), other.place())
            };
            let Some(first) = self.0[..n].iter().find(clash) else { continue };
            let does = if first.written { "writes" } else { "reads" };
            let what = match &file.at {
                Some(at) => {
                    format!("its lossless form is {}, which {}", at.display(), first.option)
                }
                None => format!("the same file that {}", first.option),
            };
            let why = format!("{what} {does}; name another file");
            return Err(Refusal::of(file.option, file.path.display(), &why));
        }
        Ok(())
    }
}

impl Named<'_> {
    fn place(&self) -> &Path {
        self.at.as_deref().unwrap_or(self.path)
    }
}

/// Whether both names lead to one file, be it there already or not. What is no file of its own (a terminal,
/// `/dev/null`) may be written by many.
fn same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(a), Ok(b)) => a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        (Err(_), Err(_)) => target(one).is_some_and(|at| Some(at) == target(other)),
        _ => false,
    }
}

/// Where a file would be made: links followed to the one that leads nowhere, its directory as the system sees it.
fn target(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(next) = fs::read_link(&path) else { break };
        path = resolve::directory(&path).join(next);
    }
    Some(fs::canonicalize(resolve::directory(&path)).ok()?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_by_many_names() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).expect("a directory");
        fs::write(at("there"), "x").expect("a file");
        fs::hard_link(at("there"), at("hard")).expect("a link");
        std::os::unix::fs::symlink("there", at("soft")).expect("a link");
        std::os::unix::fs::symlink("sub/../new", at("dangling")).expect("a link");
        fs::write(at("other"), "x").expect("a file");
        for (one, other) in [
            ("there", "there"),
            ("there", "hard"),
            ("there", "soft"),
            ("there", "sub/../there"),
            ("new", "./new"),
            ("new", "dangling"),
        ] {
            assert!(same(&at(one), &at(other)), "{one} {other}");
            assert!(same(&at(other), &at(one)), "{other} {one}");
        }
        for (one, other) in [("there", "other"), ("there", "new"), ("new", "newer")] {
            assert!(!same(&at(one), &at(other)), "{one} {other}");
        }
        assert!(!same(Path::new("/dev/null"), Path::new("/dev/null")));
    }
}
