//! The run directory: where the processes of one lab find each other, and what is left when they
//! are all gone.
//!
//! ```text
//! DIR/            0700
//!   lock          held (flock) by the host as long as it lives; its pid is inside, and `made`
//!                 if the host made DIR
//!   host.sock     the messages of `proto`
//!   xenstored.sock  the store, for domain 0 and for Xen's own tools (XENSTORED_PATH)
//!   stats         names the statistics segment in /dev/shm
//! ```
//! A directory whose lock nobody holds is stale: whoever notices first (a child that sees its host
//! die, the next start) removes it, and the segment it names.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};

use super::named;

const LOCK: &str = "lock";
/// Second line of the lock file, if the directory was made by the host.
const MADE: &str = "made";
/// The link file of the statistics segment.
pub(crate) const STATS: &str = "stats";
/// Everything a lab puts into its directory.
const FILES: [&str; 4] = ["host.sock", "xenstored.sock", STATS, LOCK];

/// Why there is no run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// Another host lives in it.
    #[error("{dir} is in use by the lab of process {pid}; end that lab or give another --dir")]
    InUse {
        /// The directory.
        dir: String,
        /// Who holds the lock, as far as the lock file says.
        pid: String,
    },
    /// It is not ours.
    #[error("{dir} belongs to another user (uid {uid}); give another --dir")]
    NotOurs {
        /// The directory.
        dir: String,
        /// Its owner.
        uid: u32,
    },
    /// It leads somewhere else.
    #[error("{dir} is a symbolic link, which may lead anywhere; give a --dir that is none")]
    Link {
        /// The directory.
        dir: String,
    },
    /// Others may look into it.
    #[error(
        "{dir} is open to others (mode {mode:o}); chmod 700 it, or give a --dir that is not there yet"
    )]
    Open {
        /// The directory.
        dir: String,
        /// Its permissions.
        mode: u32,
    },
    /// There are files in it that no lab has made.
    #[error("{dir} is not empty; give a --dir that is, or is not there yet")]
    NotEmpty {
        /// The directory.
        dir: String,
    },
    /// The system said no.
    #[error("cannot use {dir} as run directory: {why}; give another --dir")]
    Io {
        /// The directory.
        dir: String,
        /// The reason.
        why: io::Error,
    },
}

/// What [`RunDir::sweep`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swept {
    /// A host, or another that sweeps.
    Held,
    /// What a dead lab had left; it is gone now.
    Lab,
    /// Nothing to do.
    Nothing,
}

/// A run directory that is ours. Dropping it removes what the lab put there.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Whether we made the directory, and so remove it.
    made: bool,
    _lock: Flock<File>,
}

impl RunDir {
    /// Takes `dir`, or a fresh directory of this process if there is none given, and sweeps away
    /// what dead labs left.
    ///
    /// # Errors
    /// If it is in use, not ours, or cannot be made.
    pub fn take(dir: Option<&Path>) -> Result<Self, RunDirError> {
        let base = base();
        sweep_all(&base);
        match dir {
            Some(dir) => {
                let taken = Self::take_at(dir)?;
                if make(&base).is_ok() {
                    named::note(&base, dir);
                }
                Ok(taken)
            }
            None => {
                make(&base)?;
                Self::take_at(&base.join(std::process::id().to_string()))
            }
        }
    }

    fn take_at(dir: &Path) -> Result<Self, RunDirError> {
        // As much as a socket's address holds.
        const LONGEST: usize = 107 - "/xenstored.sock".len();
        if dir.as_os_str().len() > LONGEST {
            return Err(cannot(dir, Errno::ENAMETOOLONG.into()));
        }
        if dir.is_dir() {
            check_content(dir)?;
        }
        let (made, lock) = make_and_lock(dir)?;
        let lock = match lock {
            Ok(lock) => lock,
            Err(Errno::EWOULDBLOCK) => {
                let text = fs::read_to_string(dir.join(LOCK)).unwrap_or_default();
                let pid = text.lines().next().unwrap_or("?").to_owned();
                return Err(RunDirError::InUse { dir: dir.display().to_string(), pid });
            }
            Err(errno) => return Err(cannot(dir, errno.into())),
        };
        // A former host may have died here: what it left is not ours to trip over.
        remove_segment(dir);
        for file in &FILES[..3] {
            let _ = fs::remove_file(dir.join(file));
        }
        // A directory that a dead host made is ours to remove too.
        let text = io::read_to_string(&*lock).unwrap_or_default();
        let made = made || text.lines().nth(1) == Some(MADE);
        write_pid(&lock, made).map_err(|e| cannot(dir, e))?;
        held().push((dir.to_owned(), made));
        Ok(Self { path: dir.to_owned(), made, _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes a lab's files from `dir` if no host holds it any more. For children whose host died.
    pub fn sweep(dir: &Path) -> Swept {
        if check_ours(dir).is_err() {
            return Swept::Nothing;
        }
        let lock = match try_lock(dir, false) {
            Ok(lock) => lock,
            Err(Errno::EWOULDBLOCK) => return Swept::Held,
            Err(_) => return Swept::Nothing,
        };
        let found = dir.join(FILES[0]).exists();
        // A directory that a host made is removed with its files; what else is in it stays.
        let text = io::read_to_string(&*lock).unwrap_or_default();
        let made = text.lines().nth(1) == Some(MADE) || dir.parent() == Some(&base());
        named::forget(&base(), dir);
        clear(dir);
        if made {
            let _ = fs::remove_dir(dir);
        }
        if found { Swept::Lab } else { Swept::Nothing }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // Kept locked: whoever ends the process meanwhile waits until this is done.
        let mut held = held();
        // Whatever stands there once it was left is another host's.
        if let Some(at) = held.iter().position(|(path, _)| *path == self.path) {
            held.swap_remove(at);
            leave(&self.path, self.made);
        }
    }
}

/// The directories that this process has now, and whether it made them.
fn held() -> MutexGuard<'static, Vec<(PathBuf, bool)>> {
    static HELD: Mutex<Vec<(PathBuf, bool)>> = Mutex::new(Vec::new());
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what the labs of this process have put into their directories, whose [`RunDir`]s will not be
/// dropped: for a process that is about to end at once.
pub fn leave_nothing() {
    for (path, made) in held().drain(..) {
        leave(&path, made);
    }
}

fn leave(dir: &Path, made: bool) {
    named::forget(&base(), dir);
    clear(dir);
    if made {
        let _ = fs::remove_dir(dir);
    }
}

/// Where directories without a name of their own go.
fn base() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| Path::new(dir).is_dir()) {
        Some(dir) => Path::new(&dir).join("pvlab"),
        None => std::env::temp_dir().join(format!("pvlab-{}", geteuid())),
    }
}

/// The run directories of all labs of this user that run now.
#[must_use]
pub fn labs() -> Vec<PathBuf> {
    let base = base();
    sweep_all(&base);
    if check_ours(&base).is_err() {
        return Vec::new();
    }
    let mut all = named::labs(&base);
    if let Ok(entries) = fs::read_dir(&base) {
        let dirs = entries.filter_map(|entry| Some(entry.ok()?.path()));
        all.extend(dirs.filter(|dir| runs(dir)));
    }
    all.sort();
    all
}

/// Whether a lab runs in `dir`: the process that its lock file names lives, and holds it.
#[must_use]
pub fn runs(dir: &Path) -> bool {
    let Ok(text) = fs::read_to_string(dir.join(LOCK)) else { return false };
    let pid = text.lines().next().and_then(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0);
    // Asked first: trying a lock holds it for a moment, which a host that starts could trip over.
    if pid.is_none_or(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)) {
        return false;
    }
    let Ok(lock) = File::open(dir.join(LOCK)) else { return false };
    matches!(Flock::lock(lock, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
}

/// Sweeps the directories in `base`, whose name anybody can guess: in one that others have made there is
/// nothing of ours.
fn sweep_all(base: &Path) {
    if check_ours(base).is_err() {
        return;
    }
    named::labs(base);
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let dir = entry.path();
        RunDir::sweep(&dir);
        // Where a host died before it had a lock there is nothing to sweep, and nothing to keep.
        let _ = fs::remove_dir(dir);
    }
}

/// Makes a directory for us alone; says whether it was made now.
fn make(dir: &Path) -> Result<bool, RunDirError> {
    let made = match fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
        Err(e) => return Err(cannot(dir, e)),
    };
    match check_ours(dir) {
        // Made with less than the mode asked for: that is the umask's doing.
        Err(RunDirError::Open { .. }) if made => Ok(true),
        other => other.map(|()| made),
    }
}

/// Whether this is a directory that we alone can have put anything into: ours, closed to others, and no
/// link to another.
fn check_ours(dir: &Path) -> Result<(), RunDirError> {
    let meta = fs::symlink_metadata(dir).map_err(|e| cannot(dir, e))?;
    let shown = dir.display().to_string();
    let mode = meta.permissions().mode() & 0o777;
    if meta.is_symlink() {
        Err(RunDirError::Link { dir: shown })
    } else if !meta.is_dir() {
        Err(cannot(dir, Errno::ENOTDIR.into()))
    } else if meta.uid() != geteuid().as_raw() {
        Err(RunDirError::NotOurs { dir: shown, uid: meta.uid() })
    } else if mode != 0o700 {
        Err(RunDirError::Open { dir: shown, mode })
    } else {
        Ok(())
    }
}

/// Whether a directory that was there is one for us: empty, or left by a lab. Files of others might have the
/// names of ours.
fn check_content(dir: &Path) -> Result<(), RunDirError> {
    let of_a_lab = fs::read_to_string(dir.join(LOCK))
        .is_ok_and(|text| text.lines().next().is_some_and(|pid| pid.parse::<u32>().is_ok()));
    let mut entries = fs::read_dir(dir).map_err(|e| cannot(dir, e))?;
    if of_a_lab || entries.next().is_none() {
        return Ok(());
    }
    Err(RunDirError::NotEmpty { dir: dir.display().to_string() })
}

/// Makes the directory and locks it. Somebody who sweeps may find it just before it is locked, and
/// remove it: then it is made again.
fn make_and_lock(dir: &Path) -> Result<(bool, Result<Flock<File>, Errno>), RunDirError> {
    const TRIES: u32 = 20;
    let mut made = false;
    for _ in 0..TRIES {
        made |= make(dir)?;
        let lock = try_lock(dir, true);
        let there = match &lock {
            Ok(lock) => {
                let ours = lock.metadata().map(|meta| meta.ino());
                let seen = fs::metadata(dir.join(LOCK)).map(|meta| meta.ino());
                matches!((ours, seen), (Ok(ours), Ok(seen)) if ours == seen)
            }
            // Whoever sweeps holds the lock of nobody, and not for long.
            Err(Errno::EWOULDBLOCK) => !made,
            Err(errno) => *errno != Errno::ENOENT,
        };
        if there {
            return Ok((made, lock));
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok((made, try_lock(dir, true)))
}

/// Locks the directory, and if it has no lock yet may `create` it: only a host does.
fn try_lock(dir: &Path, create: bool) -> Result<Flock<File>, Errno> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(dir.join(LOCK))
        .map_err(|e| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)
}

fn write_pid(mut lock: &File, made: bool) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())?;
    if made { writeln!(lock, "{MADE}") } else { Ok(()) }
}

fn clear(dir: &Path) {
    remove_segment(dir);
    for file in FILES {
        let _ = fs::remove_file(dir.join(file));
    }
}

/// Removes the segment that the link file names, if the name is one of ours: the file may hold
/// anything.
fn remove_segment(dir: &Path) {
    let Ok(name) = fs::read_to_string(dir.join(STATS)) else { return };
    let name = name.trim_start_matches('/');
    if name.starts_with("pvlab-") && !name.contains('/') {
        let _ = fs::remove_file(Path::new("/dev/shm").join(name));
    }
}

fn cannot(dir: &Path, why: io::Error) -> RunDirError {
    RunDirError::Io { dir: dir.display().to_string(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_taken_once_and_removed_whole() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("lab");
        let first = RunDir::take(Some(&dir)).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(RunDir::take(Some(&dir)), Err(RunDirError::InUse { .. })));
        drop(first);
        assert!(!dir.exists());
    }

    #[test]
    fn a_directory_of_others_is_neither_used_nor_changed() {
        let tmp = tempfile::tempdir().unwrap();
        let (open, full) = (tmp.path().join("open"), tmp.path().join("full"));
        fs::DirBuilder::new().mode(0o755).create(&open).unwrap();
        assert!(matches!(RunDir::take(Some(&open)), Err(RunDirError::Open { mode: 0o755, .. })));
        assert_eq!(fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o755);
        fs::DirBuilder::new().mode(0o700).create(&full).unwrap();
        fs::write(full.join(STATS), "mine").unwrap();
        assert!(matches!(RunDir::take(Some(&full)), Err(RunDirError::NotEmpty { .. })));
        assert_eq!(fs::read(full.join(STATS)).unwrap(), b"mine");
        fs::write(full.join(LOCK), "4711\n").unwrap();
        assert!(RunDir::take(Some(&full)).is_ok(), "what a dead lab has left");
    }

    #[test]
    fn a_lab_runs_as_long_as_its_host_holds_the_lock() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("lab");
        assert!(!runs(&dir));
        let taken = RunDir::take(Some(&dir)).unwrap();
        assert!(runs(&dir));
        assert!(labs().contains(&fs::canonicalize(&dir).unwrap()), "found without its name");
        drop(taken);
        assert!(!runs(&dir));
        // What a host that was killed leaves: its own process id, or another's by now, and no lock.
        fs::create_dir(&dir).unwrap();
        for pid in [i32::MAX.to_string(), std::process::id().to_string(), "-1".into()] {
            fs::write(dir.join(LOCK), format!("{pid}\nmade\n")).unwrap();
            assert!(!runs(&dir), "{pid}");
        }
        assert!(!labs().contains(&fs::canonicalize(&dir).unwrap()));
    }

    #[test]
    fn a_foreign_name_in_the_link_file_is_left_alone() {
        let tmp = private();
        let victim = tmp.path().join("victim");
        fs::write(&victim, "x").unwrap();
        fs::write(tmp.path().join(STATS), format!("/../..{}", victim.display())).unwrap();
        fs::write(tmp.path().join(LOCK), "4711\n").unwrap();
        RunDir::sweep(tmp.path());
        assert!(victim.exists());
        assert!(!tmp.path().join(STATS).exists());
    }

    fn private() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    /// A directory as a lab that died left it, not to be removed by whoever comes by a link.
    fn bait(dir: &Path) -> Vec<PathBuf> {
        let files = FILES.map(|file| dir.join(file));
        fs::DirBuilder::new().mode(0o700).create(dir).unwrap();
        files.iter().for_each(|file| fs::write(file, "4711\n").unwrap());
        files.into()
    }

    #[test]
    fn nothing_is_swept_through_a_link_or_a_door_that_is_open_to_others() {
        let tmp = tempfile::tempdir().unwrap();
        let (home, base) = (tmp.path().join("home"), tmp.path().join("base"));
        fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
        let files = bait(&home.join("lab"));
        let all_there = || files.iter().all(|file| file.exists());
        let link = |to: &Path, at: &Path| std::os::unix::fs::symlink(to, at).unwrap();

        // The base itself is a link.
        link(&home, &base);
        sweep_all(&base);
        assert!(all_there(), "a link was followed");
        let error = make(&base).unwrap_err();
        assert!(matches!(error, RunDirError::Link { .. }), "{error}");
        assert!(!error.to_string().contains('\n') && error.to_string().contains("--dir"));

        // A base of ours, with a link in it.
        fs::remove_file(&base).unwrap();
        fs::DirBuilder::new().mode(0o700).create(&base).unwrap();
        link(&home.join("lab"), &base.join("4711"));
        sweep_all(&base);
        assert!(all_there(), "a link was followed");

        // Whatever others may have put there.
        let open = home.join("lab");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(RunDir::sweep(&open), Swept::Nothing);
        assert!(all_there(), "it is open to others");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(RunDir::sweep(&open), Swept::Lab, "and this is what it would have done");
    }

    #[test]
    fn whoever_sweeps_leaves_no_lock_where_there_was_none() {
        let tmp = private();
        fs::write(tmp.path().join("mine"), "x").unwrap();
        assert_eq!(RunDir::sweep(tmp.path()), Swept::Nothing);
        assert!(!tmp.path().join(LOCK).exists());
        assert!(tmp.path().join("mine").exists());
    }
}
