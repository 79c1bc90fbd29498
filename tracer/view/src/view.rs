//! Who is who in a trace: its processes, threads, rings and event channels, and what their numbers in
//! the records mean. What they did is not looked at here.

mod halves;
mod pauses;

use std::collections::{BTreeMap, HashMap};

use tracer::format::journal::{HOST, Half};
use tracer::format::record::MOST_IDS;
use tracer::format::{
    self, Clock, CutOff, Ended, Entry, Event, Note, Records, Scale, Trace, category,
};

use crate::error::Error;
use crate::name::{Name, NameId, NameTable, Names};
use crate::pattern::Pattern;
use crate::selection::Filter;

/// Three months before or after the start. Nanoseconds.
const FURTHEST: i64 = 1 << 53;

/// The category of [`View::starting`]; no site has it.
pub(crate) const STARTING: &str = "start";

/// A trace made ready for reading.
#[derive(Debug)]
pub struct View<'a> {
    pub(crate) clock: Clock,
    pub(crate) scale: Scale,
    pub(crate) run: Vec<(String, String)>,
    pub(crate) processes: Vec<Process>,
    /// Of all processes, in their order.
    pub(crate) threads: Vec<Thread<'a>>,
    pub(crate) names: Names,
    /// What a thread does that is not there yet.
    pub(crate) starting: NameId,
    pub(crate) rings: Vec<Ring>,
    pub(crate) channels: usize,
    /// What each is for, as far as a journal says.
    pub(crate) channel_names: Vec<String>,
    /// In the order of time.
    pub(crate) notes: Vec<Said>,
    /// What there is of it, if the file was cut off.
    /// When recording was off in between, in order. Nanoseconds.
    pub(crate) pauses: Vec<(i64, i64)>,
    pub(crate) cut_off: Option<CutOff>,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) domid: u32,
    /// `netfront`, `netback`, ...
    pub(crate) name: String,
    /// For people: `domain 1 netfront`.
    pub(crate) title: String,
    pub(crate) ended: Ended,
    /// Names and words that its journal had no room for.
    pub(crate) unnamed: u64,
    /// To be added to its stamps. Ticks.
    pub(crate) clock_offset: i64,
    pub(crate) sites: NameTable,
    pub(crate) functions: NameTable,
    /// The compiler has put something into its functions.
    pub(crate) instrumented: bool,
    addresses: BTreeMap<u32, NameId>,
    rings: Vec<Option<RingEnd>>,
    ports: HashMap<u32, usize>,
}

impl Process {
    /// The ring of this number, and which half of it this process has.
    #[inline]
    pub(crate) fn ring(&self, number: u32) -> Option<RingEnd> {
        self.rings.get(number as usize).copied().flatten()
    }

    /// The event channel of this port's number.
    pub(crate) fn channel(&self, number: u32) -> Option<usize> {
        self.ports.get(&number).copied()
    }

    /// The function at or before this address.
    pub(crate) fn function_at(&self, address: u32) -> Option<NameId> {
        self.addresses.range(..=address).next_back().map(|(_, &name)| name)
    }
}

/// One half of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RingEnd {
    /// In [`View::rings`].
    pub(crate) ring: usize,
    pub(crate) half: Half,
}

/// A ring, of which both halves may have been recorded.
#[derive(Debug)]
pub(crate) struct Ring {
    /// `vif1.0-q0-tx`; the second ring of that name has ` #2` behind it.
    pub(crate) name: String,
    pub(crate) in_order: bool,
    pub(crate) size: u32,
    /// In [`View::processes`]; the one with the front half, and the one with the back half.
    pub(crate) front: Option<usize>,
    pub(crate) back: Option<usize>,
}

impl Ring {
    /// Whether its requests are empty buffers, which wait for something to come: their way to the
    /// backend is nobody's loss.
    pub(crate) fn posts_buffers(&self) -> bool {
        self.name.split(' ').next().is_some_and(|name| name.ends_with("-rx"))
    }
}

/// One thread.
#[derive(Debug)]
pub(crate) struct Thread<'a> {
    /// In [`View::processes`].
    pub(crate) process: usize,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) name: String,
    /// When it ended, if it did. Ticks.
    pub(crate) ended: u64,
    /// Events missing behind the last record, because the buffer was full.
    pub(crate) lost: u64,
    /// The same, because the file was cut off.
    pub(crate) cut: u64,
    /// Events missing anywhere: they came in the middle of another.
    pub(crate) busy: u64,
    /// Events missing before the first one.
    pub(crate) overwritten: u64,
    octets: &'a [u8],
}

impl<'a> Thread<'a> {
    pub(crate) fn records(&self) -> Records<'a> {
        format::buffer::records(self.octets)
    }

    /// Whether it ended in good order, and nothing is missing before that.
    pub(crate) fn has_end(&self) -> bool {
        self.ended != 0 && self.lost == 0 && self.cut == 0
    }
}

/// Words, and whose.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) process: usize,
    /// Nanoseconds.
    pub(crate) at: i64,
    pub(crate) note: Note,
}

impl<'a> View<'a> {
    /// Reads the journals of a trace.
    #[must_use]
    pub fn new(trace: &Trace<'a>) -> Self {
        let scale = trace.clock.scale();
        let mut names = Names::default();
        let starting = names.id(Name::plain("worker not started yet", STARTING));
        let mut view = Self {
            clock: trace.clock,
            scale,
            run: trace.run.clone(),
            processes: Vec::new(),
            threads: Vec::new(),
            names,
            starting,
            rings: Vec::new(),
            channels: 0,
            channel_names: Vec::new(),
            notes: Vec::new(),
            pauses: Vec::new(),
            cut_off: trace.cut_off,
        };
        let mut found = Found::default();
        let mut processes: Vec<_> = trace.processes.iter().map(|p| (identity(p), p)).collect();
        // Frontends stand above backends, and both above the host.
        processes.sort_by_key(|(who, _)| (who.domid == HOST, who.domid == 0, who.domid));
        for (who, process) in &processes {
            view.process(who, process, &mut found);
        }
        halves::pair(&mut view, found.rings);
        view.ports(found.ports);
        view.notes.sort_by_key(|said| said.at);
        view.name_addresses();
        view.pauses = view.paused();
        view
    }

    /// A stamp of this process as nanoseconds since the start of the trace.
    #[inline]
    pub(crate) fn ns(&self, process: &Process, ticks: u64) -> i64 {
        self.time(ticks.saturating_add_signed(process.clock_offset))
    }

    /// A stamp of the trace's own clock as nanoseconds since its start; what is further away than any
    /// trace lasts is the fault of a damaged file, and brought nearer so that sums do not overflow.
    #[inline]
    pub(crate) fn time(&self, ticks: u64) -> i64 {
        self.scale.ns(ticks).clamp(-FURTHEST, FURTHEST)
    }

    /// A short name for each thread, of its own where there are others like it.
    pub(crate) fn labels(&self) -> Vec<String> {
        let process = |at: usize| {
            let mine = &self.processes[at];
            let alike = self.processes.iter().filter(|other| other.name == mine.name).count();
            match (mine.domid, alike) {
                (HOST, _) => "host".to_owned(),
                (_, 1) => mine.name.clone(),
                (domid, _) => format!("{} {domid}", mine.name),
            }
        };
        let label = |thread: &Thread<'_>| {
            let others = self.threads.iter().filter(|other| other.process == thread.process);
            match others.count() {
                1 => process(thread.process),
                _ => format!("{}/{}", process(thread.process), thread.name),
            }
        };
        self.threads.iter().map(label).collect()
    }

    /// What of a filter's names nothing in this trace is called.
    ///
    /// # Errors
    /// If there is such a name.
    pub fn knows(&self, filter: &Filter) -> Result<(), Error> {
        let named = |pattern: &&Pattern| self.names.iter().any(|name| pattern.matches(&name.text));
        match filter.only.iter().chain(&filter.without).find(|pattern| !named(pattern)) {
            None => Ok(()),
            Some(pattern) => Err(Error::Absent(format!(
                "nothing is called {}; pvlab trace top lists what there is, and * stands for anything",
                pattern.as_str()
            ))),
        }
    }

    /// Whether a process has the front half of a ring.
    pub(crate) fn has_front(&self, process: usize) -> bool {
        self.rings.iter().any(|ring| ring.front == Some(process))
    }

    /// What was run, as typed.
    pub(crate) fn command(&self) -> Option<&str> {
        self.said("command")
    }

    /// What is said of the run under a name.
    pub(crate) fn said(&self, name: &str) -> Option<&str> {
        self.run.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    fn process(
        &mut self,
        who: &format::journal::Process,
        process: &format::Process<'a>,
        found: &mut Found,
    ) {
        let mine = self.processes.len();
        let unknown = self.names.id(Name::plain("(unnamed site)", category::FUNCTION));
        let no_function = self.names.id(Name::plain("(unnamed function)", category::FUNCTION));
        let mut made = Process {
            pid: process.pid,
            domid: who.domid,
            name: who.name.clone(),
            title: title(who),
            ended: process.ended,
            unnamed: process.lost,
            clock_offset: who.clock_offset,
            sites: NameTable::new(unknown),
            functions: NameTable::new(no_function),
            instrumented: false,
            addresses: BTreeMap::new(),
            rings: Vec::new(),
            ports: HashMap::new(),
        };
        for entry in process.journal() {
            match entry {
                Entry::Site(site) if site.id < MOST_IDS => {
                    made.sites.set(site.id, self.names.id(site.into()));
                }
                Entry::Function(function) => self.function(&mut made, function),
                Entry::Ring(ring) => found.rings.push((mine, ring)),
                Entry::Port(port) => found.ports.push((mine, port)),
                Entry::Note(note) => {
                    let at = self.ns(&made, note.ticks);
                    self.notes.push(Said { process: mine, at, note });
                }
                _ => {}
            }
        }
        self.threads.extend(process.threads.iter().map(|thread| Thread {
            process: mine,
            pid: process.pid,
            tid: thread.info.tid,
            name: thread.info.name.clone(),
            ended: thread.info.ended,
            lost: thread.info.lost,
            cut: thread.missing,
            busy: thread.info.lost_busy,
            overwritten: thread.overwritten(),
            octets: thread.octets(),
        }));
        self.processes.push(made);
    }

    fn function(&mut self, process: &mut Process, function: format::journal::Function) {
        let text = match function.name.as_str() {
            "" => format!("function at {:#x}", function.address),
            name => name.to_owned(),
        };
        let name = self.names.id(Name::plain(text, category::FUNCTION));
        process.instrumented = true;
        if function.id == 0 {
            if let Ok(address) = u32::try_from(function.address) {
                process.addresses.insert(address, name);
            }
        } else if function.id < MOST_IDS {
            process.functions.set(function.id, name);
        }
    }

    fn ports(&mut self, found: Vec<(usize, format::journal::Port)>) {
        let mut channels = HashMap::new();
        for (process, port) in found {
            let next = channels.len();
            let key = (port.allocator, port.allocator_port);
            let channel = *channels.entry(key).or_insert(next);
            if channel == self.channel_names.len() {
                self.channel_names.push(String::new());
            }
            if self.channel_names[channel].is_empty() {
                self.channel_names[channel] = port.name;
            }
            self.processes[process].ports.insert(port.id, channel);
        }
        self.channels = channels.len();
    }

    /// Addresses that `mcount` saw and no journal names get a name of their own.
    fn name_addresses(&mut self) {
        for thread in &self.threads {
            let process = &mut self.processes[thread.process];
            for record in thread.records() {
                if let Event::Called { address, .. } = record.event()
                    && process.function_at(address).is_none()
                {
                    let name = Name::plain(format!("function at {address:#x}"), category::FUNCTION);
                    process.addresses.insert(address, self.names.id(name));
                }
            }
        }
    }
}

/// What the journals speak of before it is known what belongs together.
#[derive(Default)]
struct Found {
    rings: Vec<(usize, format::journal::Ring)>,
    ports: Vec<(usize, format::journal::Port)>,
}

/// What a process says of itself.
fn identity(process: &format::Process<'_>) -> format::journal::Process {
    let said = process.journal().find_map(|entry| match entry {
        Entry::Process(who) => Some(who),
        _ => None,
    });
    said.unwrap_or_else(|| format::journal::Process {
        domid: HOST - 1,
        name: format!("process {}", process.pid),
        ..format::journal::Process::default()
    })
}

fn title(who: &format::journal::Process) -> String {
    match who.domid {
        HOST => "host".to_owned(),
        domid if domid == HOST - 1 => who.name.clone(),
        domid => format!("domain {domid} {}", who.name),
    }
}
