//! A terminal on a guest's console: of a lab that runs, or of a new one with a shell in it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use rings::store::{Nodes, XsClient, keys};
use rings_host::{Host, UnixTransport};

use super::children::Domain;
use super::console::{host_config, start_daemon};
use super::raw::Raw;
use crate::config::{AttachConfig, ConsoleConfig};
use crate::domain::StopFlag;

/// `Ctrl-]`.
const LEAVE: u8 = 0x1d;
/// Between two looks whether to end.
const LOOK: Duration = Duration::from_millis(100);
/// After the end of what is typed: silence that means that there is no more to be seen.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a daemon may take to open a terminal.
const PATIENCE: Duration = Duration::from_secs(10);

/// Is the terminal of a guest's console until it is left or the guest ends.
///
/// # Errors
/// If there is no such console, or it breaks.
pub fn attach(config: &AttachConfig, stop: &StopFlag) -> anyhow::Result<()> {
    let domid = config.domain.unwrap_or(1);
    match &config.lab.run.dir {
        Some(dir) => {
            let mut store = open_store(dir)?;
            let tty = find(&mut store, dir, domid)?;
            interact(&tty, domid, stop)
        }
        None if config.domain.is_some() => {
            bail!("--domain {domid}: a new lab has one guest; name the lab with --dir")
        }
        None => with_own_lab(&config.lab, stop),
    }
}

/// A lab of one guest, which is a shell.
fn with_own_lab(config: &ConsoleConfig, stop: &StopFlag) -> anyhow::Result<()> {
    let host = Host::start(host_config(config)?)?;
    let mut run = config.run.clone();
    run.dir = Some(host.dir().to_owned());
    run.quiet = true;
    // Children end before their host does.
    let mut daemon = start_daemon(&config.daemon, &run, None)?;
    let mut guest = Domain::start("console-guest", &super::console::shell_args(&run))?;
    let mut store = open_store(host.dir())?;
    let deadline = Instant::now() + PATIENCE;
    let tty = loop {
        match tty_of(&mut store, 1)? {
            Some(tty) if !tty.is_empty() => break tty,
            _ if stop.is_set() => bail!("interrupted"),
            _ if Instant::now() >= deadline => bail!("the daemon opens no terminal"),
            _ => {}
        }
        for child in [&mut daemon, &mut guest] {
            super::domains::must_live(child)?;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let outcome = interact(&tty, 1, stop);
    [&mut guest, &mut daemon].into_iter().for_each(Domain::wake_to_end);
    outcome
}

fn open_store(dir: &Path) -> anyhow::Result<XsClient<UnixTransport>> {
    let shown = dir.display();
    let transport = UnixTransport::connect(&dir.join("xenstored.sock")).with_context(|| {
        format!("no lab in {shown}; start one with pvlab host --dir {shown}, or leave out --dir")
    })?;
    Ok(XsClient::new(transport))
}

/// The path of a guest's terminal; `None` if there is no such guest.
fn tty_of(store: &mut XsClient<UnixTransport>, domid: u16) -> anyhow::Result<Option<String>> {
    Ok(store.read_if_present(&format!("/local/domain/{domid}/console/{}", keys::TTY))?)
}

/// The terminal of a console that there is.
fn find(store: &mut XsClient<UnixTransport>, dir: &Path, domid: u16) -> anyhow::Result<String> {
    let dir = dir.display();
    match tty_of(store, domid)? {
        Some(tty) if !tty.is_empty() => Ok(tty),
        Some(_) => bail!(
            "the console of domain {domid} has no terminal; start a daemon with: pvlab consoled --dir {dir}"
        ),
        None => {
            let mut guests = Vec::new();
            for name in store.directory("/local/domain")? {
                if let Ok(number) = name.parse()
                    && tty_of(store, number)?.is_some()
                {
                    guests.push(name);
                }
            }
            match guests.as_slice() {
                [] => bail!("no console of domain {domid} in {dir}: no guest runs there"),
                some => bail!(
                    "no console of domain {domid} in {dir}; use --domain with one of: {}",
                    some.join(", ")
                ),
            }
        }
    }
}

/// Joins the user's terminal and the guest's.
fn interact(tty: &str, domid: u16, stop: &StopFlag) -> anyhow::Result<()> {
    let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits();
    let guest = OpenOptions::new().read(true).write(true).custom_flags(flags).open(tty);
    let guest = guest.with_context(|| format!("cannot open the console's terminal {tty}"))?;
    // Whoever was here before may have left it otherwise.
    let mut raw = tcgetattr(&guest)?;
    cfmakeraw(&mut raw);
    tcsetattr(&guest, SetArg::TCSANOW, &raw)?;
    tell(&format!("console of domain {domid} ({tty}); Ctrl-] leaves it"));
    let raw = Raw::enter()?;
    let outcome = Joined { guest, typed: Vec::new(), end_of_input: None }.run(stop);
    drop(raw);
    match outcome? {
        // What the guest showed last need not have ended its line.
        End::Left => tell("\nleft the console"),
        End::Gone => tell("\nthe console is gone"),
        End::Told => bail!("interrupted"),
    }
    Ok(())
}

fn tell(line: &str) {
    let (before, line) = line.split_at(line.len() - line.trim_start().len());
    // A closed stderr is no reason to fail.
    let _ = writeln!(io::stderr(), "{before}pvlab: {line}");
}

/// Why it ended.
enum End {
    /// The user left.
    Left,
    /// The guest or the daemon has gone.
    Gone,
    /// A signal.
    Told,
}

struct Joined {
    guest: File,
    /// What was typed and has not been taken yet.
    typed: Vec<u8>,
    /// Since when nothing can be typed any more, and nothing has been seen.
    end_of_input: Option<Instant>,
}

/// Typed ahead at most so much: whoever types must still be able to leave.
const AHEAD: usize = 64 << 10;

impl Joined {
    fn run(mut self, stop: &StopFlag) -> io::Result<End> {
        loop {
            if stop.is_set() {
                return Ok(End::Told);
            }
            if self.end_of_input.is_some_and(|since| since.elapsed() >= SILENCE) {
                return Ok(End::Left);
            }
            let (from_user, from_guest) = self.wait()?;
            if from_user && self.take_typed()? {
                return Ok(End::Left);
            }
            if !self.typed.is_empty() && !self.pass_typed()? {
                return Ok(End::Gone);
            }
            if from_guest && let Some(end) = self.show()? {
                return Ok(end);
            }
        }
    }

    /// Waits for something to do: whether something was typed, and whether there is something to see.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let stdin = io::stdin();
        let mut of_guest = PollFlags::POLLIN;
        of_guest.set(PollFlags::POLLOUT, !self.typed.is_empty());
        let listen = self.end_of_input.is_none() && self.typed.len() < AHEAD;
        let of_user = if listen { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds =
            [PollFd::new(self.guest.as_fd(), of_guest), PollFd::new(stdin.as_fd(), of_user)];
        let timeout = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds[..if listen { 2 } else { 1 }], timeout) {
            Err(nix::errno::Errno::EINTR) => return Ok((false, false)),
            other => other?,
        };
        let any = |fd: &PollFd<'_>| fd.revents().is_some_and(|seen| !seen.is_empty());
        Ok((listen && any(&fds[1]), any(&fds[0])))
    }

    /// Takes what the user typed; `true` if that was to leave.
    fn take_typed(&mut self) -> io::Result<bool> {
        let mut keys = [0; 1024];
        // Unbuffered: what is polled is what is read.
        let len = match nix::unistd::read(io::stdin(), &mut keys) {
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => return Ok(false),
            // A terminal that hangs up says so in this way.
            Err(nix::errno::Errno::EIO) => 0,
            other => other?,
        };
        if len == 0 {
            self.end_of_input = Some(Instant::now());
        }
        let typed = &keys[..len];
        let leave = typed.iter().position(|&key| key == LEAVE);
        self.typed.extend_from_slice(&typed[..leave.unwrap_or(len)]);
        if leave.is_some() {
            // What was typed before is the guest's, if it takes it at once.
            let _ = self.pass_typed();
        }
        Ok(leave.is_some())
    }

    /// Gives the guest what was typed, as far as it takes it; `false` if it has gone.
    fn pass_typed(&mut self) -> io::Result<bool> {
        match self.guest.write(&self.typed) {
            Ok(len) => drop(self.typed.drain(..len)),
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
            Err(why) if why.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => {
                return Ok(false);
            }
            Err(why) => return Err(why),
        }
        Ok(true)
    }

    /// Shows what the guest wrote.
    fn show(&mut self) -> io::Result<Option<End>> {
        let mut seen = [0; 4096];
        let len = match self.guest.read(&mut seen) {
            Ok(0) => return Ok(Some(End::Gone)),
            Ok(len) => len,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // The other side of a pty that is closed.
            Err(why) if why.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => {
                return Ok(Some(End::Gone));
            }
            Err(why) => return Err(why),
        };
        if let Some(since) = &mut self.end_of_input {
            *since = Instant::now();
        }
        let mut out = io::stdout();
        match out.write_all(&seen[..len]).and_then(|()| out.flush()) {
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(Some(End::Left)),
            Err(why) => Err(why),
            Ok(()) => Ok(None),
        }
    }
}
