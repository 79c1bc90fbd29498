//! A guest: connects its vif, runs its end of the workload, and reports.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use frontend::{Config, Features, Netfront, Wanted};
use rings::store::{Nodes, StoreError, XenbusState};
use rings::{DomId, Domain};
use rings_host::{BlockKind, Connect, HostDomain, Segment};
use tracer::traced;

use super::log_console::log_to_console;
use super::process::{StopFlag, connect, end_with_host, spin, unless_host_gone};
use super::reports::{self, FrontReport, Outcome};
use super::worker::{Command, Handle, Parts, Told};
use crate::config::{NetConfig, NetPath};
use crate::workload::{Place, Role, SideReport, build};

/// How long it may take to let go at the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// Added to a guest's number: the other end of what it says to itself.
const LOOPBACK: u16 = 100;
/// Between two looks at the other end.
const LOOK: Duration = Duration::from_millis(50);

/// Runs this process as a guest of the lab in `config.run.dir`.
///
/// # Errors
/// Whatever keeps the run from taking place.
pub fn run(config: &NetConfig, domid: Option<u16>, stop: &StopFlag) -> anyhow::Result<FrontReport> {
    let dir = config.run.dir.clone().context("--dir is needed to find the host")?;
    let domain = connect(&Connect {
        dir,
        domid: domid.map(DomId),
        pool_frames: pool_frames(config),
        name: "netfront".into(),
        cost: super::netback::cost(&config.run),
    })?;
    end_with_host(&domain, "netfront")?;
    let route = config.run.console.then(|| log_to_console(&domain)).transpose()?;
    let outcome = Guest::connect(&domain, config).and_then(|guest| guest.run(stop));
    let outcome = unless_host_gone(&domain, outcome);
    drop(route);
    domain.goodbye(u32::from(outcome.is_err()));
    outcome
}

/// Frames for all queues: what `frontend` takes for one, times the queues, and some for rings.
fn pool_frames(config: &NetConfig) -> u32 {
    const PER_QUEUE: u32 = 528 + 256 + 2;
    config.queues * PER_QUEUE + 64
}

struct Guest {
    domain: HostDomain,
    config: NetConfig,
    netfront: Netfront<HostDomain>,
    queues: Vec<frontend::Queue<HostDomain>>,
    features: Features,
}

impl Guest {
    #[traced]
    fn connect(domain: &HostDomain, config: &NetConfig) -> anyhow::Result<Self> {
        let workload = serde_json::to_string(config)?;
        // Before the backend can see us connected: it reads this to know what to serve us with.
        domain.store()?.write(reports::WORKLOAD, workload)?;
        let (netfront, queues) = Netfront::connect(
            domain,
            &Config {
                handle: 0,
                wanted: Wanted {
                    csum_tx: config.csum_tx,
                    csum_rx: config.csum_rx,
                    gso: config.gso > 0,
                    sg: config.sg,
                    queues: config.queues,
                },
                always_notify: config.run.notify == crate::config::NotifyPolicy::Always,
                index_base: config.run.index_base,
                // Twice what makes the other end count as stalled: then the host has said so before.
                timeout: Duration::from_secs_f64(config.run.stall_timeout * 2.0),
            },
        )?;
        let features = *netfront.features();
        Ok(Self { domain: domain.clone(), config: config.clone(), netfront, queues, features })
    }

    fn run(mut self, stop: &StopFlag) -> anyhow::Result<FrontReport> {
        let (tell, told) = channel();
        let workers = self.start_workers(&tell)?;
        let jobs = self.distribute(&workers)?;
        let mut failure = self.supervise(&told, jobs, stop);
        if let Some(lie) = failure.as_ref().filter(|why| why.starts_with("backend")) {
            let lie = lie.clone();
            tracing::warn!(lie, "device broken");
            let _ = self.netfront.fatal(&lie);
        }
        let back_dir = self.netfront.backend_dir().to_owned();
        // Closing first: the backend must have stopped before the pages are taken back.
        self.netfront.close(FAREWELL)?;
        let back = reports::fetch(self.netfront.store(), &back_dir)?;
        let front = Self::collect(&workers, &told, jobs);
        workers.into_iter().for_each(Handle::stop);
        // A server is told to end when all its clients are done.
        if failure.is_none() && stop.is_set() && !self.serves() {
            failure = Some("interrupted".into());
        }
        let f = &self.features;
        let outcome = Outcome {
            csum_tx: f.csum_tx,
            csum_rx: f.csum_rx,
            gso: f.gso_tx,
            sg: f.sg,
            queues: f.queues,
            mtu: f.mtu,
        };
        let domid = self.domain.domid().0;
        Ok(FrontReport { domid, front, back, outcome, failure })
    }

    /// How many workers of guests share the frontend's CPUs.
    fn guests(&self) -> usize {
        let each = self.queues.len().min(self.config.run.front_cpus.len());
        each * usize::try_from(self.config.vifs).unwrap_or(1)
    }

    #[traced]
    fn start_workers(&self, tell: &Sender<Told<usize>>) -> anyhow::Result<Vec<Handle<usize>>> {
        let run = &self.config.run;
        let segment = Segment::open(self.domain.dir())?;
        let mut workers = Vec::new();
        for (n, &cpu) in run.front_cpus.iter().enumerate().take(self.queues.len()) {
            let number = u32::try_from(n)?;
            let block = self.domain.stats_block(BlockKind::Front.number(), number)?;
            let parts = Parts {
                waiter: self.domain.waiter()?,
                spin: spin(run, self.guests()),
                cost: self.domain.cost().clone(),
                block: segment.block(block).context("the statistics segment is too small")?,
                cpu,
                nice: run.nice_front,
            };
            workers.push(Handle::start(parts, tell.clone())?);
        }
        if workers.is_empty() {
            bail!("-A leaves the frontend without a CPU");
        }
        Ok(workers)
    }

    /// Gives each worker its queues. Says how many jobs there are.
    #[traced]
    fn distribute(&mut self, workers: &[Handle<usize>]) -> anyhow::Result<usize> {
        let count = u32::try_from(self.queues.len())?;
        let own = self.domain.domid().0;
        let (role, other) = self.part(own);
        let mut jobs = 0;
        for (n, queue) in self.queues.drain(..).enumerate() {
            let place = Place {
                role,
                own,
                other,
                mac: self.features.mac,
                other_mac: super::netback::MAC,
                queue: (u32::try_from(n)?, count),
            };
            let nic = frontend::Nic::new(queue, self.config.gso);
            if let Some(job) = build(nic, &self.config, &place)? {
                workers[n % workers.len()].tell(Command::Add(n, job));
                jobs += 1;
            }
        }
        Ok(jobs)
    }

    /// Whether it is the end that others connect to.
    fn serves(&self) -> bool {
        self.part(self.domain.domid().0).0 == Role::Server
    }

    /// Which part this guest plays, and with whom: on a bridge guests talk in pairs.
    fn part(&self, own: u16) -> (Role, u16) {
        match self.config.path {
            NetPath::Bridge if own.is_multiple_of(2) => (Role::Server, own - 1),
            NetPath::Bridge => (Role::Client, own + 1),
            NetPath::Backend => (Role::Client, 0),
            // Both ends are here; the other one has a number that no guest has.
            NetPath::Loopback => (Role::Client, own + LOOPBACK),
        }
    }

    /// Waits until all jobs are done, or something ends the run before. Says what, then.
    fn supervise(
        &mut self,
        told: &Receiver<Told<usize>>,
        jobs: usize,
        stop: &StopFlag,
    ) -> Option<String> {
        if let Err(error) = self.netfront.watch_otherend() {
            return Some(error.to_string());
        }
        let mut done = 0;
        let mut looked = Instant::now();
        while done < jobs && !stop.is_set() {
            match told.recv_timeout(LOOK) {
                Ok(Told::Finished(_, None)) => done += 1,
                Ok(Told::Finished(_, Some(why))) => return Some(why),
                Ok(Told::Removed(..)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Some("a worker died".into()),
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                match self.left() {
                    Ok(None) => {}
                    Ok(Some(state)) => {
                        return Some(format!("the backend has left (its state: {state})"));
                    }
                    Err(error) => return Some(error.to_string()),
                }
            }
        }
        None
    }

    /// The state of a backend that is not connected any more.
    fn left(&mut self) -> Result<Option<XenbusState>, StoreError> {
        if !self.netfront.otherend_changed()? {
            return Ok(None);
        }
        Ok(Some(self.netfront.otherend()?).filter(|state| *state != XenbusState::Connected))
    }

    /// Takes the jobs from the workers, and what they measured.
    #[traced]
    fn collect(workers: &[Handle<usize>], told: &Receiver<Told<usize>>, jobs: usize) -> SideReport {
        for n in 0..jobs {
            workers[n % workers.len()].tell(Command::Remove(n));
        }
        let mut sum: Option<SideReport> = None;
        let mut left = jobs;
        while left > 0 {
            match told.recv_timeout(FAREWELL) {
                Ok(Told::Removed(_, report)) => {
                    left -= 1;
                    sum = Some(match sum.take() {
                        Some(sum) => sum.plus(*report),
                        None => *report,
                    });
                }
                Ok(Told::Finished(..)) => {}
                Err(_) => break,
            }
        }
        sum.unwrap_or_default()
    }
}
