//! Traces made by hand: for tests, and to try out how something looks. Nothing of a real trace goes
//! through here.

use tracer::format::journal::{self, Half, Ring, Site};
use tracer::format::{
    Anchor, Buffer, Clock, Ended, Entry, Event, Full, Journal, Note, Record, Sent, Slot, Slots,
    ThreadInfo, TraceWriter, category,
};

/// The first stamp of a made trace. Ticks.
pub const BEGIN: u64 = 1 << 40;

/// A trace in the making; its clock ticks once a nanosecond.
#[derive(Debug, Default)]
pub struct Maker {
    run: Vec<(String, String)>,
    processes: Vec<Making>,
    threads: Vec<MakingThread>,
    last: u64,
}

#[derive(Debug, Default)]
struct Making {
    pid: u32,
    who: journal::Process,
    journal: Vec<u8>,
    lost: u64,
    ended: Ended,
    numbers: u32,
}

/// A thread in the making.
#[derive(Debug, Default)]
pub struct MakingThread {
    process: usize,
    /// Who it is; what is said of missing events may be changed.
    pub info: ThreadInfo,
    records: Vec<Record>,
}

impl Maker {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says something about the run.
    pub fn run(&mut self, name: &str, value: &str) {
        self.run.push((name.into(), value.into()));
    }

    /// A process: its number here.
    pub fn process(&mut self, domid: u32, name: &str) -> usize {
        let pid = 1000 + u32::try_from(self.processes.len()).unwrap_or(0);
        let who = journal::Process { domid, pid, name: name.into(), ..Default::default() };
        self.processes.push(Making { pid, who, ended: Ended::Well, ..Making::default() });
        self.processes.len() - 1
    }

    /// Says what is to be added to the stamps of a process.
    pub fn clock_offset(&mut self, process: usize, ns: i64) {
        self.processes[process].who.clock_offset = ns;
    }

    /// Says how a process ended.
    pub fn ended(&mut self, process: usize, how: Ended) {
        self.processes[process].ended = how;
    }

    /// Says for how many entries a journal had no room.
    pub fn lost(&mut self, process: usize, entries: u64) {
        self.processes[process].lost = entries;
    }

    fn number(&mut self, process: usize) -> u32 {
        self.processes[process].numbers += 1;
        self.processes[process].numbers
    }

    /// Adds an entry to a journal.
    pub fn entry(&mut self, process: usize, entry: &Entry) {
        self.processes[process].journal.extend(entry.to_bytes());
    }

    /// A site of a process: its number.
    pub fn site(&mut self, process: usize, category: &str, name: &str, arg: &str) -> u32 {
        let id = self.number(process);
        let (name, category, arg) = (name.into(), category.into(), arg.into());
        let site = Site { id, name, category, arg, ..Site::default() };
        self.entry(process, &Entry::Site(site));
        id
    }

    /// Half a ring: its number.
    pub fn ring(&mut self, process: usize, half: Half, name: &str, base: u32) -> u32 {
        let id = self.number(process);
        let (in_order, size) = (name.starts_with("vif"), 256);
        let ring = Ring { id, half, in_order, size, base, ticks: BEGIN, name: name.into() };
        self.entry(process, &Entry::Ring(ring));
        id
    }

    /// An end of an event channel, allocated by domain 0: its number.
    pub fn port(&mut self, process: usize, key: u32, name: &str) -> u32 {
        let id = self.number(process);
        let port = journal::Port { id, port: id, allocator_port: key, ..Default::default() };
        self.entry(process, &Entry::Port(journal::Port { name: name.into(), ..port }));
        id
    }

    /// Words.
    pub fn note(&mut self, process: usize, ns: u64, tid: u32, words: &str) {
        let note = Note { ticks: BEGIN + ns, tid, words: words.into(), ..Note::default() };
        self.entry(process, &Entry::Note(note));
    }

    /// A thread of a process: its number.
    pub fn thread(&mut self, process: usize, name: &str) -> usize {
        let pid = self.processes[process].pid;
        let tid = 2000 + u32::try_from(self.threads.len()).unwrap_or(0);
        let info = ThreadInfo { pid, tid, name: name.into(), started: BEGIN, ..Default::default() };
        self.threads.push(MakingThread { process, info, records: Vec::new() });
        self.threads.len() - 1
    }

    /// A thread, to change what is said of it.
    pub fn thread_mut(&mut self, thread: usize) -> &mut MakingThread {
        &mut self.threads[thread]
    }

    /// Something happens, so many nanoseconds after the beginning.
    pub fn record(&mut self, thread: usize, ns: u64, event: Event) {
        self.last = self.last.max(ns);
        self.threads[thread].records.push(Record::new(BEGIN + ns, event));
    }

    /// All of this happens, at these nanoseconds after the beginning.
    pub fn happens(&mut self, thread: usize, events: impl IntoIterator<Item = (u64, Event)>) {
        for (ns, event) in events {
            self.record(thread, ns, event);
        }
    }

    /// The records of a thread, to spoil them.
    pub fn records(&mut self, thread: usize) -> &mut Vec<Record> {
        &mut self.threads[thread].records
    }

    /// The file.
    ///
    /// # Panics
    /// Never: memory takes everything.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let end = BEGIN + self.last + 1000;
        let anchor = |ticks| Anchor { ticks, monotonic_ns: ticks, realtime_ns: ticks, width: 1 };
        let clock =
            Clock { start: anchor(BEGIN), end: anchor(end), steady: true, event_ps: 0, read_ps: 0 };
        let mut to = TraceWriter::new(Vec::new(), &clock, &self.run).expect("memory");
        for (number, process) in self.processes.iter().enumerate() {
            let mut octets = Entry::Process(process.who.clone()).to_bytes();
            octets.extend(&process.journal);
            let journal = Journal { pid: process.pid, lost: process.lost, octets: &octets };
            to.process(&journal, process.ended).expect("memory");
            for thread in self.threads.iter().filter(|thread| thread.process == number) {
                let octets: Vec<u8> =
                    thread.records.iter().flat_map(|record| record.to_bytes()).collect();
                let mut info = thread.info.clone();
                info.written = info.written.max(thread.records.len() as u64);
                if process.ended == Ended::Well && info.full == Full::Stop && info.lost == 0 {
                    info.ended = end;
                }
                to.thread(&Buffer { info, records: [&octets, &[]] }).expect("memory");
            }
        }
        to.finish().expect("memory")
    }
}

/// A front and a back domain with one ring between them, as they might be: batches go one after the
/// other. All times are nanoseconds.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many batches.
    pub batches: u32,
    /// Requests in each.
    pub batch: u32,
    /// What the frontend does before it pushes.
    pub submit: u64,
    /// What the backend does with a batch, its grants apart.
    pub serve: u64,
    /// What the frontend does with the responses.
    pub complete: u64,
    /// How long the grant operations of a batch take.
    pub grant: u64,
    /// Which: `grant.copy`, `grant.map`.
    pub grant_kind: &'static str,
    /// The backend sleeps when it has nothing to do, and it takes this long to wake it.
    pub wake: Option<u64>,
    /// It is a limit that keeps the backend asleep, however long that is.
    pub limited: bool,
    /// The doorbell is rung for each batch, and that takes this long.
    pub ring_bell: Option<u64>,
    /// The frontend finds the ring full before each batch, for so long.
    pub full: u64,
    /// The backend tells of each request that it takes out of the ring.
    pub takes: bool,
    /// A function of the backend, in `serve`, and how long it takes.
    pub back_function: Option<(&'static str, u64)>,
    /// A function of the frontend, in its submitting.
    pub front_function: Option<(&'static str, u64)>,
    /// Index of the first request.
    pub base: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            batches: 100,
            batch: 8,
            submit: 400,
            serve: 500,
            complete: 300,
            grant: 200,
            grant_kind: "grant.copy",
            wake: None,
            limited: false,
            ring_bell: None,
            full: 0,
            takes: false,
            back_function: None,
            front_function: None,
            base: 0xffff_ff00,
        }
    }
}

/// How long a cache line takes from one CPU to the other.
const LINE: u64 = 80;

impl Plan {
    /// The lab as planned. Threads 0 and 1 are the frontend's and the backend's worker.
    #[must_use]
    pub fn make(&self) -> Maker {
        let mut to = Maker::new();
        to.run("command", "pvlab net --made by-hand");
        let front = Side::new(&mut to, 1, "netfront", Half::Front, self);
        let back = Side::new(&mut to, 0, "netback", Half::Back, self);
        to.note(0, 10, to.threads[0].info.tid, "connected");
        let mut clock = (100, 100);
        to.record(back.thread, 90, Event::Spin { site: back.spin });
        if self.wake.is_some() {
            to.record(back.thread, 95, Event::Enter { site: back.sleep, arg: 5000 });
        }
        if self.limited {
            to.record(back.thread, 96, Event::Enter { site: back.limit, arg: 0 });
        }
        for n in 0..self.batches {
            self.one(&mut to, &front, &back, n, &mut clock);
        }
        to
    }

    fn one(&self, to: &mut Maker, front: &Side, back: &Side, n: u32, clock: &mut (u64, u64)) {
        let first = self.base.wrapping_add(n * self.batch);
        let slots = |ring, slot| Slots { ring, slot, first, count: self.batch };
        let (f, b) = clock;
        to.record(front.thread, *f, Event::Mark { site: front.round, arg: n });
        if self.full > 0 {
            to.record(front.thread, *f + 5, Event::Full { ring: front.ring });
            to.record(front.thread, *f + 8, Event::Spin { site: front.spin });
            *f += self.full;
            to.record(front.thread, *f, Event::Room { ring: front.ring });
        }
        *f += 10;
        to.record(front.thread, *f, Event::Enter { site: front.work, arg: self.batch });
        if let Some((_, ns)) = self.front_function {
            to.record(front.thread, *f + 10, Event::Enter { site: front.extra, arg: 0 });
            to.record(front.thread, *f + 10 + ns, Event::Exit { site: front.extra, arg: 0 });
            *f += 20 + ns;
        }
        *f += self.submit;
        let pushed = *f;
        let rings = self.wake.is_some() || self.ring_bell.is_some();
        let slot = slots(front.ring, Slot::Request);
        to.record(front.thread, pushed, Event::Push { slots: slot, notify: rings });
        if rings {
            *f += self.ring_bell.unwrap_or(500);
            let sent = Sent::Rung;
            to.record(front.thread, *f, Event::Send { port: front.port, sent });
        }
        *f += 20;
        to.record(front.thread, *f, Event::Exit { site: front.work, arg: 0 });
        to.record(front.thread, *f + 10, Event::Spin { site: front.spin });

        *b = (*b).max(pushed + LINE).max(if self.wake.is_some() { *f } else { 0 });
        if let Some(wake) = self.wake {
            *b += wake;
            if self.limited {
                to.record(back.thread, *b - 1, Event::Exit { site: back.limit, arg: 0 });
            }
            to.record(back.thread, *b, Event::Exit { site: back.sleep, arg: 0 });
        }
        if self.wake.is_some() {
            to.record(back.thread, *b + 5, Event::Receive { port: back.port });
        }
        *b += 10;
        to.record(back.thread, *b, Event::Enter { site: back.work, arg: self.batch });
        *b += 10;
        to.record(back.thread, *b, Event::Pop(slots(back.ring, Slot::Request)));
        for index in (0..self.batch).filter(|_| self.takes).map(|n| first.wrapping_add(n)) {
            let (ring, slot) = (back.ring, Slot::Request);
            to.record(back.thread, *b + 5, Event::Take { ring, slot, index });
        }
        to.record(back.thread, *b + 10, Event::Enter { site: back.grant, arg: self.batch });
        *b += 10 + self.grant;
        to.record(back.thread, *b, Event::Exit { site: back.grant, arg: self.batch * 64 });
        if let Some((_, ns)) = self.back_function {
            to.record(back.thread, *b + 10, Event::Enter { site: back.extra, arg: 0 });
            *b += 10 + ns;
            to.record(back.thread, *b, Event::Exit { site: back.extra, arg: 0 });
        }
        *b += self.serve;
        let answered = *b;
        let slot = slots(back.ring, Slot::Response);
        to.record(back.thread, answered, Event::Push { slots: slot, notify: false });
        *b += 20;
        to.record(back.thread, *b, Event::Exit { site: back.work, arg: 0 });
        to.record(back.thread, *b + 10, Event::Spin { site: back.spin });
        if self.wake.is_some() {
            to.record(back.thread, *b + 20, Event::Enter { site: back.sleep, arg: 5000 });
            *b += 20;
        }
        if self.limited {
            to.record(back.thread, *b + 1, Event::Enter { site: back.limit, arg: 0 });
        }

        *f = (*f + 20).max(answered + LINE);
        to.record(front.thread, *f, Event::Enter { site: front.done, arg: self.batch });
        *f += 10;
        to.record(front.thread, *f, Event::Pop(slots(front.ring, Slot::Response)));
        *f += self.complete;
        to.record(front.thread, *f, Event::Exit { site: front.done, arg: 0 });
        *f += 10;
    }
}

/// One side's numbers.
struct Side {
    thread: usize,
    ring: u32,
    port: u32,
    work: u32,
    done: u32,
    grant: u32,
    extra: u32,
    spin: u32,
    sleep: u32,
    limit: u32,
    round: u32,
}

impl Side {
    fn new(to: &mut Maker, domid: u32, name: &str, half: Half, plan: &Plan) -> Self {
        let process = to.process(domid, name);
        let front = half == Half::Front;
        let extra = if front { plan.front_function } else { plan.back_function };
        let (work, done) = if front { ("xmit", "complete") } else { ("serve", "retire") };
        let ring = "vif1.0-q0-tx";
        Self {
            work: to.site(process, category::FUNCTION, work, "frames"),
            done: to.site(process, category::FUNCTION, done, "frames"),
            grant: to.site(process, category::GRANT, plan.grant_kind, "ops"),
            extra: to.site(process, category::FUNCTION, extra.map_or("extra", |e| e.0), ""),
            spin: to.site(process, category::WAIT, "spin", ""),
            sleep: to.site(process, category::WAIT, "sleep", "patience"),
            round: to.site(process, category::ITERATION, "round", "number"),
            ring: to.ring(process, half, ring, plan.base),
            port: to.port(process, 3, ring),
            limit: to.site(process, category::WAIT, "limit", ""),
            // Each on the CPU that its name tells.
            thread: to.thread(process, if front { "worker-1" } else { "worker-0" }),
        }
    }
}
