//! The lock that keeps two backends from one file, and how long a backend waits for it: for the kernel to be
//! done with what a dead one had in flight, and not for one that lives.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{major, minor};

/// How often and how long another owner is waited for.
const TRIES: u32 = 200;
const WAIT: Duration = Duration::from_millis(50);
/// How often one that lives: it may be about to end.
const PATIENCE: u32 = 40;

/// Locks it; for others that only read, too, if so asked.
pub(super) fn lock(mut file: fs::File, read_only: bool) -> Result<Flock<fs::File>, String> {
    let how =
        if read_only { FlockArg::LockSharedNonblock } else { FlockArg::LockExclusiveNonblock };
    let mut lives = 0;
    for _ in 0..TRIES {
        match Flock::lock(file, how) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EWOULDBLOCK)) => file = back,
            Err((_, errno)) => return Err(format!("cannot be locked: {}", errno.desc())),
        }
        lives = if owner_lives(&file) { lives + 1 } else { 0 };
        if lives >= PATIENCE {
            break;
        }
        std::thread::sleep(WAIT);
    }
    Err("in use by another program; end that or name another file".into())
}

/// Whether a process that has locked this file is there still. The system names whoever took the lock, which
/// may outlive it.
fn owner_lives(file: &fs::File) -> bool {
    let Ok(found) = file.metadata() else { return false };
    let place = format!("{:02x}:{:02x}:{}", major(found.dev()), minor(found.dev()), found.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    locks.lines().filter_map(|line| owner_of(line, &place)).any(lives)
}

/// The process in a line of `/proc/locks` as `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`, if the line
/// is about this file.
fn owner_of(line: &str, file: &str) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["FLOCK", _, _, pid, place, ..] = words.get(1..)? else { return None };
    (*place == file).then(|| pid.parse().ok()).flatten()
}

/// Whether a process is there, has not ended and does not: one that was killed may have to wait for its
/// storage first.
fn lives(pid: u32) -> bool {
    /// The flag of a process that ends (`PF_EXITING`, linux/sched.h).
    const EXITING: u64 = 4;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its name may hold anything; behind it are proc_pid_stat(5)'s fields 3 and following.
    let rest: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let [state, _, _, _, _, _, flags, ..] = rest[..] else { return false };
    !matches!(state, "Z" | "X") && flags.parse::<u64>().is_ok_and(|flags| flags & EXITING == 0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn an_owner_that_lives_is_told_from_one_that_is_dead() {
        let (first, second) = {
            let path = tempfile::NamedTempFile::new().expect("a file");
            let open = || fs::File::open(path.path()).expect("it is there");
            (open(), open())
        };
        assert!(!owner_lives(&second), "nobody has it");
        let locked = Flock::lock(first, FlockArg::LockExclusiveNonblock).expect("nobody has it");
        assert!(owner_lives(&second), "we have");
        let why = lock(second.try_clone().expect("ours"), false).expect_err("we have");
        assert!(why.contains("in use by another program"), "{why}");
        let first = locked.unlock().map_err(|(_, errno)| errno).expect("ours");
        assert!(!owner_lives(&second));
        // A process that locks for us what we hold open, and ends.
        let stdin = Stdio::from(first.try_clone().expect("ours"));
        let status = Command::new("flock").args(["-x", "0"]).stdin(stdin).status();
        assert!(status.expect("util-linux has it").success());
        assert!(!owner_lives(&second), "whoever took it is dead");
        let held = second.try_clone().expect("ours");
        let again = Flock::lock(held, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno);
        assert_eq!(again.err(), Some(Errno::EWOULDBLOCK), "and it is locked all the same");
    }
}
