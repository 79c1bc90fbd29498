//! The domains of a run: its frontends, its backend and the host they are in; what becomes of them
//! while it goes on.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use rings_host::proto::Held;
use rings_host::{DomainInfo, Host, News, inspect};
use serde::de::DeserializeOwned;

use super::children::{Domain, LastWords};
use crate::domain::StopFlag;

/// Between two looks at a run.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// How long frontends may take to report what they have done when they are interrupted.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Looks at a process that has lost its host, for its end.
const LAST_MOMENTS: u32 = 1000;

/// The domains of a run.
pub(super) struct Domains {
    // Children first: they end before their host does.
    /// Those that have not ended.
    pub(super) fronts: Vec<Domain>,
    /// The backend.
    pub(super) back: Domain,
    /// The host.
    pub(super) host: Host,
    /// The host knows the backend: it will say when that has gone.
    registered: bool,
    /// Processes of backends that were killed on purpose.
    killed: Vec<i32>,
    /// Since when the user wants it to end.
    interrupted: Option<Instant>,
    /// After so many seconds without progress a domain has stalled.
    stall_timeout: f64,
}

impl Domains {
    /// These domains of `host`.
    pub(super) fn new(host: Host, back: Domain, fronts: Vec<Domain>, stall_timeout: f64) -> Self {
        let (registered, killed, interrupted) = (false, Vec::new(), None);
        Self { fronts, back, host, registered, killed, interrupted, stall_timeout }
    }

    /// Waits at most `pause` for what the host has to tell, and looks whether all are well.
    ///
    /// # Errors
    /// If one has died or stalled, in words.
    pub(super) fn look(&mut self, pause: Duration) -> anyhow::Result<Option<News>> {
        let news = self.host.news(pause);
        match &news {
            Some(News::Born(who)) => self.registered |= who.pid == self.back.pid(),
            Some(News::Stalled(who)) => bail!(
                "domain {} ({}, process {}) has stalled: no progress for {} s (--stall-timeout)",
                who.domid,
                who.name,
                who.pid,
                self.stall_timeout
            ),
            Some(News::Gone(who, None)) if !self.killed.contains(&who.pid) => {
                return Err(self.obituary(who));
            }
            _ => {}
        }
        // What the host can see it says first, and with the domain's number.
        let timeout = Duration::from_secs_f64(self.stall_timeout) + LOOK * 25;
        for domain in self.all() {
            if domain.stopped_for(timeout) {
                let (name, pid) = (domain.name(), domain.pid());
                bail!("{name} (process {pid}) has stalled: it was stopped before it registered");
            }
        }
        Ok(news)
    }

    /// What to say of a domain whose connection the host has lost.
    fn obituary(&mut self, who: &DomainInfo) -> anyhow::Error {
        let DomainInfo { domid, name, pid } = who;
        let mut how = "it closed its connection to the host".to_owned();
        if let Some(domain) = self.all().find(|domain| domain.pid() == *pid) {
            // The connection closes a moment before the process is to be waited for.
            for _ in 0..LAST_MOMENTS {
                if let Some(status) = domain.ended() {
                    if let LastWords::Complaint(why) = domain.last_words::<()>() {
                        return complaint(domain, why);
                    }
                    how = status;
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.died(&format!("domain {domid} ({name}, process {pid})"), &how)
    }

    /// What to say of a domain that has ended without a word. One that was asked to end before it had anything
    /// to report has none: it was still connecting, say.
    fn died(&self, who: &str, how: &str) -> anyhow::Error {
        // How a signal ends a process; these two are how it is asked.
        let crashed = how.starts_with("signal: ")
            && !["SIGINT", "SIGTERM"].iter().any(|asked| how.contains(asked));
        if self.interrupted.is_some() && !crashed {
            return anyhow!("interrupted");
        }
        anyhow!("{who} died: {how}")
    }

    /// The user wants no more of a run that has gone on for so long: its frontends are asked to end, and to report
    /// what there is.
    ///
    /// # Errors
    /// If there is nothing yet, or they do not end.
    pub(super) fn interrupt(&mut self, elapsed: Duration) -> anyhow::Result<()> {
        let since = *self.interrupted.get_or_insert_with(Instant::now);
        if elapsed.is_zero() || since.elapsed() >= LAST_WORDS {
            bail!("interrupted");
        }
        self.fronts.iter_mut().for_each(Domain::ask_to_end);
        Ok(())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Domain> {
        self.fronts.iter_mut().chain([&mut self.back])
    }

    /// Fails if the backend has ended, with what it said last.
    pub(super) fn back_lives(&mut self, stop: &StopFlag) -> anyhow::Result<()> {
        if self.back.ended().is_some() {
            // Ctrl-C reaches every process of the lab, and theirs may be the quicker ones.
            std::thread::sleep(LOOK);
            if stop.is_set() {
                bail!("interrupted");
            }
        }
        must_live(&mut self.back)
    }

    /// Takes the reports of frontends that have ended.
    pub(super) fn reap<R: DeserializeOwned>(&mut self) -> anyhow::Result<Vec<R>> {
        let mut reports = Vec::new();
        let mut at = 0;
        while at < self.fronts.len() {
            match self.fronts[at].ended() {
                Some(how) => {
                    let mut front = self.fronts.remove(at);
                    let who = format!("{} (process {})", front.name(), front.pid());
                    match front.last_words() {
                        LastWords::Report(report) => reports.push(*report),
                        LastWords::Complaint(why) => return Err(complaint(&front, why)),
                        LastWords::Nothing => return Err(self.died(&who, &how)),
                    }
                }
                None => at += 1,
            }
        }
        Ok(reports)
    }

    /// Puts another backend, which `start` starts, in the place of this one, which is killed.
    pub(super) fn replace_back(
        &mut self,
        start: impl FnOnce() -> anyhow::Result<Domain>,
    ) -> anyhow::Result<()> {
        let old = self.back.pid();
        self.killed.push(old);
        self.back.kill();
        self.wait_gone(old)?;
        self.registered = false;
        self.back = start()?;
        Ok(())
    }

    /// Waits until the host has seen this process go, whose end is certain: it gives the number 0 to one
    /// process at a time. One that it has never seen, it need not.
    fn wait_gone(&mut self, pid: i32) -> anyhow::Result<()> {
        // What the process had said before it died the host has heard when it answers this.
        inspect(self.host.dir(), Held::Ports)?;
        let deadline = Instant::now() + Duration::from_secs_f64(self.stall_timeout);
        while Instant::now() < deadline {
            let pause = if self.registered { LOOK } else { Duration::ZERO };
            // What becomes of the others meanwhile is told as ever.
            match self.look(pause)? {
                Some(News::Gone(who, _)) if who.pid == pid => return Ok(()),
                None if !self.registered => return Ok(()),
                _ => {}
            }
        }
        bail!("the host has not seen process {pid} go, which was killed")
    }

    /// Ends those that are still there, all at once: one that waits for another would only wait
    /// longer.
    pub(super) fn end(&mut self) {
        self.all().for_each(Domain::wake_to_end);
        self.fronts.clear();
        self.back.end();
    }
}

impl Drop for Domains {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a domain that has ended reports. If it has said why it ended instead, that is the error.
///
/// # Errors
/// If there is no report.
pub(super) fn report<R: DeserializeOwned>(domain: &mut Domain, how: &str) -> anyhow::Result<R> {
    let (name, pid) = (domain.name(), domain.pid());
    match domain.last_words() {
        LastWords::Report(report) => Ok(*report),
        LastWords::Complaint(why) => Err(complaint(domain, why)),
        LastWords::Nothing => bail!("{name} (process {pid}) died: {how}"),
    }
}

/// What a domain complained of before it ended.
fn complaint(domain: &Domain, why: String) -> anyhow::Error {
    // An option's value is nobody's but the user's.
    if why.starts_with("--") {
        return anyhow!(why);
    }
    anyhow!("{} (process {}): {why}", domain.name(), domain.pid())
}

/// Fails if a domain that is to go on has ended, with what it said last.
///
/// # Errors
/// If it has.
pub(super) fn must_live(domain: &mut Domain) -> anyhow::Result<()> {
    let Some(how) = domain.ended() else { return Ok(()) };
    match report::<()>(domain, &how) {
        Ok(()) => bail!("{} (process {}) died: {how}", domain.name(), domain.pid()),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that ends by itself and never asks for a host.
    fn stranger() -> anyhow::Result<Domain> {
        Domain::start("blkback", &["--list".to_owned()])
    }

    #[test]
    fn whoever_is_asked_to_end_before_it_can_report_has_not_died() {
        let end_of = |interrupted: bool| {
            let dir = tempfile::tempdir().expect("a directory");
            let dir = Some(dir.path().join("lab"));
            let host = rings_host::HostConfig { dir, ..rings_host::HostConfig::default() };
            let host = Host::start(host).expect("a host");
            let (back, front) = (stranger().expect("starts"), stranger().expect("starts"));
            let mut domains = Domains::new(host, back, vec![front], 1e6);
            if interrupted {
                domains.interrupt(Duration::from_secs(1)).expect("it has gone on for long enough");
                let crash = domains.died("netback", "signal: 11 (SIGSEGV)").to_string();
                assert_eq!(crash, "netback died: signal: 11 (SIGSEGV)", "nobody asked for that");
            }
            loop {
                match domains.reap::<serde_json::Value>() {
                    Ok(none) => assert!(none.is_empty(), "it reports nothing"),
                    Err(why) => break why.to_string(),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        assert_eq!(end_of(true), "interrupted");
        let why = end_of(false);
        assert!(
            why.starts_with("blkback (process ") && why.contains(") died: exit status: 0"),
            "{why}"
        );
    }

    #[test]
    fn a_backend_that_dies_before_it_is_known_to_the_host_is_not_waited_for() {
        /// Seconds, more than any test has: whoever waits for the host's word waits in vain.
        const NEVER: f64 = 1e6;
        let host = Host::start(rings_host::HostConfig::default()).expect("a host");
        let mut domains = Domains::new(host, stranger().expect("starts"), Vec::new(), NEVER);
        let old = domains.back.pid();
        domains.replace_back(stranger).expect("replaced");
        assert_ne!(domains.back.pid(), old);
    }
}
