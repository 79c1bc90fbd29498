//! The control side: finds the guests' consoles in the store and hands them out to be served.
//!
//! There is no handshake: a console is there when its nodes are, and gone when they are. Served it is
//! from the moment in which its page is mapped, its port bound and the path of its terminal written
//! to `tty`; the page's `connection` octet says so to the guest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rings::bytes::ConsolePage;
use rings::io::grant_table::RESERVED_CONSOLE;
use rings::store::{Nodes, StoreError, XsClient, frontends, keys, xenbus};
use rings::{DomId, Domain, Foreign, GrantMode, Port};

use super::buffer::Overflow;
use super::error::ServeError;
use super::limit::{EventLimit, Limit};
use super::log::LogConfig;
use super::outlet::{Outlet, Sink};
use super::session::{Session, State};
use super::stats::Stats;

/// How consoles are served.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Events of each guest; none for no limit.
    pub limit: Option<Limit>,
    /// What shows their output.
    pub sink: Sink,
    /// What keeps it.
    pub log: Option<LogConfig>,
    /// What happens to output that nobody takes.
    pub overflow: Overflow,
    /// The daemon's own work for each event.
    pub think: Duration,
}

/// Something for the workers.
#[derive(Debug)]
pub enum ConsoleEvent<D: Domain> {
    /// This console is to be served.
    Connected(DomId, Box<Session<D>>),
    /// This console must be closed; then call [`Consoled::disconnected`].
    Disconnect(DomId),
}

/// One console, seen from the control side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Served {
    /// A worker has it.
    Yes,
    /// A worker has been told to give it back.
    Leaving,
    /// It could not be; it is not tried again until its guest is another.
    Refused,
}

/// The control half of xenconsoled.
#[derive(Debug)]
pub struct Consoled<D: Domain> {
    domain: D,
    store: XsClient<D::Transport>,
    config: Config,
    consoles: BTreeMap<DomId, Served>,
    /// The nodes are to be looked at, whatever the store says.
    look: bool,
}

/// Where our consoles are, relative to our home.
const BACKENDS: &str = "backend/console";

impl<D: Domain> Consoled<D> {
    /// Begins to look for consoles.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn new(domain: &D, config: Config) -> Result<Self, ServeError> {
        let mut store = domain.store()?;
        store.watch(BACKENDS, "consoles")?;
        let consoles = BTreeMap::new();
        Ok(Self { domain: domain.clone(), store, config, consoles, look: true })
    }

    /// The store connection.
    pub fn store(&mut self) -> &mut XsClient<D::Transport> {
        &mut self.store
    }

    /// Waits at most `timeout` for something to change, and deals with it.
    ///
    /// # Errors
    /// If the store does not answer: the host is gone.
    pub fn step(&mut self, timeout: Duration) -> Result<Vec<ConsoleEvent<D>>, StoreError> {
        let timeout = if self.look { Duration::ZERO } else { timeout };
        let changed = frontends::changed(&mut self.store, timeout)?;
        if !changed && !self.look {
            return Ok(Vec::new());
        }
        self.look = false;
        self.compare()
    }

    /// What the store has against what we serve.
    fn compare(&mut self) -> Result<Vec<ConsoleEvent<D>>, StoreError> {
        let there = self.there()?;
        let mut events = Vec::new();
        for (front, served) in &mut self.consoles {
            if !there.contains(front) && *served == Served::Yes {
                *served = Served::Leaving;
                events.push(ConsoleEvent::Disconnect(*front));
            }
        }
        self.consoles.retain(|front, served| there.contains(front) || *served != Served::Refused);
        for front in there {
            if !self.consoles.contains_key(&front)
                && let Some(session) = self.serve(front)?
            {
                events.push(ConsoleEvent::Connected(front, Box::new(session)));
            }
        }
        Ok(events)
    }

    /// The guests whose consoles we are to serve.
    fn there(&mut self) -> Result<BTreeSet<DomId>, StoreError> {
        let names = xenbus::list(&mut self.store, BACKENDS)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).map(DomId).collect())
    }

    /// Begins to serve a console; `None` if it cannot be, which is told.
    fn serve(&mut self, front: DomId) -> Result<Option<Session<D>>, StoreError> {
        match self.connect(front) {
            Ok(session) => {
                self.consoles.insert(front, Served::Yes);
                let tty = session.outlet.path().unwrap_or_default();
                tracing::info!(%front, tty, "console connected");
                Ok(Some(session))
            }
            // It went while we looked: the store will say so, or say that another has come.
            Err(ServeError::Store(error)) if error.is_not_found() => Ok(None),
            Err(_) if !self.there()?.contains(&front) => Ok(None),
            Err(why) => {
                tracing::warn!(%front, %why, "console refused");
                self.consoles.insert(front, Served::Refused);
                Ok(None)
            }
        }
    }

    fn connect(&mut self, front: DomId) -> Result<Session<D>, ServeError> {
        let back = format!("{BACKENDS}/{front}/0");
        let dir = self.store.read_string(&format!("{back}/{}", keys::FRONTEND))?;
        let port = Port(xenbus::read_u32(&mut self.store, &format!("{dir}/{}", keys::PORT))?);
        let limit =
            xenbus::read_u32_if_present(&mut self.store, &format!("{dir}/{}", keys::LIMIT))?;
        // Whatever is wrong with it costs this console its place, and no other.
        let limit = limit.map_or(1 << 20, |limit| limit as usize);
        let mut foreign = self.domain.foreign(front, GrantMode::Map)?;
        let mapping = foreign.map(RESERVED_CONSOLE).map_err(ServeError::Grant)?;
        let page = ConsolePage::new(foreign.region(&mapping).clone());
        let Config { sink, log, overflow, .. } = &self.config;
        let outlet = Outlet::open(front, *sink, log.as_ref(), (limit, *overflow))?;
        let tty = outlet.path().unwrap_or_default();
        self.store.write(&format!("{dir}/{}", keys::TTY), tty)?;
        let mut channel = self.domain.bind_interdomain(front, port)?;
        let mut half = page.back();
        half.set_name(front);
        channel.set_name(&format!("console{front}"));
        page.set_connected(true);
        // A guest may wait for somebody to read.
        channel.send();
        Ok(Session {
            front,
            _mapping: mapping,
            _foreign: foreign,
            page,
            half,
            channel,
            limit: EventLimit::new(self.config.limit),
            outlet,
            state: State::new(self.config.think),
            stats: Stats::default(),
        })
    }

    /// The guest has closed its port: its console is to be given back, and looked for anew.
    pub fn left(&mut self, front: DomId) -> Option<ConsoleEvent<D>> {
        let served = self.consoles.get_mut(&front).filter(|served| **served == Served::Yes)?;
        *served = Served::Leaving;
        Some(ConsoleEvent::Disconnect(front))
    }

    /// A worker has given this console back and closed it.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn disconnected(&mut self, front: DomId) -> Result<(), StoreError> {
        if self.consoles.remove(&front).is_none() {
            return Ok(());
        }
        tracing::info!(%front, "console disconnected");
        // Another guest may have this number already.
        self.look = true;
        let tty = format!("/local/domain/{front}/console/{}", keys::TTY);
        match self.store.read(&tty) {
            Ok(path) if !path.is_empty() => self.store.write(&tty, ""),
            Err(error) if !error.is_answer() => Err(error),
            _ => Ok(()),
        }
    }
}
