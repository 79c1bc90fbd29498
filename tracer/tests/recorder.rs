//! The recorder as a process uses it, with itself for a host: what is recorded comes out of the file
//! as it went in, whatever happens to threads and processes meanwhile.

#![cfg(not(feature = "no-trace"))]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tracer::format::journal::{Half, Process};
use tracer::format::{Entry, Event, Full, Level, Mapped, Note, Record, Slot, Slots, Trace};
use tracer::keeper::{Keeper, MOST_THREADS, Mode, PAUSED, REFUSED, Written};
use tracer::{Ring, RingInfo};

/// A process has one recorder: one test at a time has it.
static ONE: Mutex<()> = Mutex::new(());

struct Lab {
    keeper: Arc<Keeper>,
    _one: MutexGuard<'static, ()>,
}

/// Bytes of a buffer of so many records.
const fn records(n: u64) -> u64 {
    n * 16
}

impl Lab {
    fn new(mode: Mode, bytes: u64) -> Self {
        Self::with(Keeper::new(mode, bytes).expect("memory"))
    }

    fn with(keeper: Keeper) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = Arc::new(keeper);
        let process = Process { domid: 3, name: "test".into(), ..Process::default() };
        let host = Arc::clone(&keeper);
        tracer::start(process, keeper.switch(), host).expect("started");
        Self { keeper, _one: one }
    }

    /// Runs `work` on a thread of its own, recording.
    fn traced(&self, work: impl FnOnce() + Send) {
        self.keeper.set(true);
        thread::scope(|scope| {
            let named = thread::Builder::new().name("traced".into());
            let _ = named.spawn_scoped(scope, work).expect("a thread").join();
        });
        self.keeper.set(false);
    }

    /// Writes the file and shows it to `look`.
    fn file<R>(&self, look: impl FnOnce(&Trace<'_>) -> R) -> R {
        self.written(|trace, _| look(trace))
    }

    /// The same, and shows what is said of it.
    fn written<R>(&self, look: impl FnOnce(&Trace<'_>, &Written) -> R) -> R {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("out.pvtrace");
        let written = self.keeper.write(&path, &[("command".into(), "test".into())]);
        let file = Mapped::open(&path).expect("there");
        let trace = Trace::parse(&file).expect("a trace");
        assert_eq!(trace.cut_off, None);
        let written = written.expect("written");
        assert_eq!(written.busy, trace.threads().map(|t| t.info.lost_busy).sum::<u64>());
        look(&trace, &written)
    }

    /// What the thread called `traced` recorded.
    fn events(&self) -> Vec<Event> {
        self.file(|trace| stamped(trace).into_iter().map(Record::event).collect())
    }
}

fn stamped(trace: &Trace<'_>) -> Vec<Record> {
    let thread = trace.threads().find(|t| t.info.name == "traced").expect("the thread");
    let records: Vec<_> = thread.records().collect();
    assert!(records.is_sorted_by_key(|r| r.ticks), "a thread's time does not go back");
    records
}

/// The names of the sites that are entered and left, `-` in front of those that are left.
fn steps(trace: &Trace<'_>) -> Vec<String> {
    let names: Vec<_> = trace.processes[0]
        .journal()
        .filter_map(|entry| match entry {
            Entry::Site(site) => Some((site.id, site.name)),
            _ => None,
        })
        .collect();
    let name = |id| names.iter().find(|(n, _)| *n == id).map_or("?", |(_, name)| name).to_owned();
    let step = |record: Record| match record.event() {
        Event::Enter { site, .. } => Some(name(site)),
        Event::Exit { site, .. } => Some(format!("-{}", name(site))),
        Event::Mark { site, .. } => Some(format!("!{}", name(site))),
        _ => None,
    };
    stamped(trace).into_iter().filter_map(step).collect()
}

fn outer(times: u32) {
    let mut span = tracer::span!(GUEST, "outer", times = times => done);
    for _ in 0..times {
        inner();
    }
    span.result(times);
}

fn inner() {
    let _span = tracer::span!("inner");
}

fn look(found: bool) {
    let _span = tracer::quiet_span!("look");
    let _inside = tracer::quiet_span!("look closer");
    if found {
        tracer::mark!("found");
    }
}

#[test]
fn calls_come_back_with_names_arguments_and_results() {
    let lab = Lab::new(Mode::Stop, records(1024));
    outer(1);
    lab.traced(|| outer(2));
    outer(1);
    lab.file(|trace| {
        assert_eq!(steps(trace), ["outer", "inner", "-inner", "inner", "-inner", "-outer"]);
        let events: Vec<_> = stamped(trace).into_iter().map(Record::event).collect();
        assert!(matches!(events[0], Event::Resume));
        assert!(matches!(events[1], Event::Enter { arg: 2, .. }));
        assert!(matches!(events.last(), Some(Event::Exit { arg: 2, .. })));
        let process = &trace.processes[0];
        assert_eq!(process.pid, std::process::id());
        let mut entries = process.journal();
        let Some(Entry::Process(first)) = entries.next() else { panic!("says who it is first") };
        assert_eq!((first.domid, first.pid, first.name.as_str()), (3, process.pid, "test"));
        let outer = entries.find_map(|entry| match entry {
            Entry::Site(site) if site.name == "outer" => Some(site),
            _ => None,
        });
        let outer = outer.expect("in the table");
        assert_eq!((outer.category.as_str(), outer.arg.as_str()), ("guest", "times"));
        assert_eq!(outer.result, "done");
        assert!(outer.file.ends_with("tests/recorder.rs") && outer.line > 0);
        assert!(trace.clock.event_ps >= trace.clock.read_ps / 2 && trace.clock.read_ps > 0);
    });
}

#[test]
fn a_span_ends_when_its_function_panics() {
    let lab = Lab::new(Mode::Stop, records(1024));
    lab.traced(|| {
        let _ = std::panic::catch_unwind(|| {
            let _span = tracer::span!("doomed");
            std::panic::resume_unwind(Box::new(()));
        });
        inner();
    });
    assert_eq!(lab.file(steps), ["doomed", "-doomed", "inner", "-inner"]);
}

#[test]
fn looks_that_find_nothing_leave_nothing() {
    let lab = Lab::new(Mode::Stop, records(1024));
    lab.traced(|| {
        let idle = |found| {
            look(found);
            tracer::spinning!("idle");
        };
        (0..1000).for_each(|_| idle(false));
        idle(true);
        (0..1000).for_each(|_| idle(false));
    });
    let expected = ["look", "look closer", "!found", "-look closer", "-look"];
    assert_eq!(lab.file(steps), expected);
    let events = lab.events();
    let spins = [&events[1], events.last().expect("some")];
    assert!(spins.iter().all(|e| matches!(e, Event::Spin { .. })), "{events:?}");
    assert_eq!(events.len(), 1 + 1 + 5 + 1, "each spin once: {events:?}");
}

#[test]
fn a_full_buffer_keeps_the_beginning_or_the_end() {
    let work = || (0..1000).for_each(|_| outer(1));
    let lab = Lab::new(Mode::Stop, records(256));
    lab.traced(|| {
        work();
        // Looks in vain would not have been recorded anyway.
        (0..1000).for_each(|_| look(false));
        tracer::spinning!("idle");
    });
    lab.file(|trace| {
        let thread = trace.threads().next().expect("one");
        assert_eq!((thread.records().len(), thread.info.lost), (256, 4001 - 256));
        assert_eq!((thread.info.full, thread.overwritten()), (Full::Stop, 0));
        assert_eq!(steps(trace)[..2], ["outer", "inner"]);
    });
    drop(lab);
    let lab = Lab::new(Mode::Overwrite, records(256));
    lab.traced(work);
    lab.file(|trace| {
        let thread = trace.threads().next().expect("one");
        assert_eq!((thread.info.lost, thread.info.written), (0, 4001));
        assert_eq!(thread.overwritten() + thread.records().len() as u64, 4001);
        assert!(thread.records().len() > 128);
        assert_eq!(steps(trace).last().map(String::as_str), Some("-outer"));
    });
}

#[test]
fn a_beginning_has_no_holes() {
    let lab = Lab::new(Mode::Stop, records(256));
    lab.traced(|| {
        // One for having been switched on, one for the span.
        (0..254).for_each(|_| tracer::mark!("before"));
        {
            let _span = tracer::quiet_span!("last");
            tracer::mark!("left out");
        }
        tracer::mark!("later");
    });
    lab.file(|trace| {
        let (steps, thread) = (steps(trace), trace.threads().next().expect("one"));
        assert_eq!(steps.last().map(String::as_str), Some("last"), "it was not empty");
        assert_eq!((thread.records().len(), thread.info.lost), (256, 3));
    });
}

#[test]
fn whoever_spins_when_it_is_switched_on_again_says_so_again() {
    let lab = Lab::new(Mode::Stop, records(1024));
    let switch = Arc::clone(&lab.keeper);
    lab.traced(move || {
        let spin = || (0..10).for_each(|_| tracer::spinning!("idle"));
        spin();
        switch.set(false);
        inner();
        switch.set(true);
        spin();
    });
    let events = lab.events();
    assert!(
        matches!(
            events[..],
            [Event::Resume, Event::Spin { .. }, Event::Resume, Event::Spin { .. }]
        ),
        "{events:?}"
    );
}

#[test]
fn a_thread_records_for_the_host_that_there_is() {
    let (say, said) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel();
    let named = thread::Builder::new().name("traced".into());
    let worker = named.spawn(move || {
        for times in said {
            outer(times);
            done.send(()).expect("heard");
        }
    });
    let worker = worker.expect("a thread");
    let work = |lab: &Lab, times| {
        lab.keeper.set(true);
        say.send(times).expect("it lives");
        wait.recv().expect("it lives");
        lab.keeper.set(false);
    };
    let entered = |lab: &Lab| {
        let all = lab.events().into_iter();
        let of = |e| if let Event::Enter { arg, .. } = e { Some(arg) } else { None };
        all.filter_map(of).filter(|&arg| arg > 0).collect::<Vec<_>>()
    };
    let first = Lab::new(Mode::Stop, records(1024));
    work(&first, 1);
    assert_eq!(entered(&first), [1]);
    let keeper = Arc::clone(&first.keeper);
    drop(first);
    let second = Lab::new(Mode::Stop, records(1024));
    // It is off for this one: the thread still has the other's buffer.
    say.send(7).expect("it lives");
    wait.recv().expect("it lives");
    work(&second, 2);
    work(&second, 3);
    assert_eq!(entered(&second), [2, 3]);
    let Lab { _one, .. } = second;
    let first = Lab { keeper, _one };
    assert_eq!(entered(&first), [1], "the other host's is as it was");
    drop(say);
    worker.join().expect("ends well");
}

#[test]
fn where_the_cycle_counter_is_no_clock_the_systems_stamps() {
    let nanoseconds = || {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
        u64::try_from(std::time::Duration::from(time).as_nanos()).expect("years")
    };
    let keeper = Keeper::with_clock(Mode::Stop, records(1024), tracer::Source::Monotonic);
    let lab = Lab::with(keeper.expect("memory"));
    let before = nanoseconds();
    lab.traced(|| {
        outer(3);
        let mut front = ring(Half::Front, 0);
        let stamp = front.stamp();
        front.pushed(stamp, Slot::Request, 0, 1, false);
        front.seen(Slot::Response, 0, 1);
    });
    let after = nanoseconds();
    lab.file(|trace| {
        let records = stamped(trace);
        assert_eq!(records.len(), 1 + 8 + 2);
        assert!(records.iter().all(|r| (before..=after).contains(&r.ticks)), "{records:?}");
        assert_eq!((trace.clock.hz(), trace.clock.steady), (1_000_000_000, true));
        assert_eq!(trace.clock.start.ticks, trace.clock.start.monotonic_ns);
    });
}

#[test]
fn it_is_switched_while_the_thread_runs_and_frames_stay_whole() {
    let lab = Lab::new(Mode::Stop, records(1024));
    let switch = Arc::clone(&lab.keeper);
    lab.traced(move || {
        let cut = tracer::span!("cut");
        switch.set(false);
        inner();
        let unseen = tracer::span!("unseen");
        switch.set(true);
        inner();
        // Which it is already.
        switch.set(true);
        drop(unseen);
        drop(cut);
    });
    assert_eq!(lab.file(steps), ["cut", "inner", "-inner", "-cut"]);
    let resumed = lab.events().iter().filter(|e| matches!(e, Event::Resume)).count();
    assert_eq!(resumed, 2, "at the beginning, and where it goes on");
    let said = lab.file(|trace| trace.run.iter().find(|(name, _)| name == PAUSED).cloned());
    let (_, pause) = said.expect("it is told when it was off");
    let (off, on) = pause.split_once('-').expect("from and to");
    let (off, on): (u64, u64) = (off.parse().expect("ticks"), on.parse().expect("ticks"));
    let ticks = lab.file(|trace| {
        let thread = trace.threads().next().expect("kept");
        thread.records().map(|record| record.ticks).collect::<Vec<_>>()
    });
    assert!(ticks[1] <= off && off <= on && on <= ticks[2], "{ticks:?} {off} {on}");
    // Off since, which is no pause before it goes on.
    lab.keeper.end();
    lab.keeper.set(true);
    assert!(!lab.keeper.is_on(), "it is over");
}

#[test]
fn every_thread_has_its_own_buffer_and_it_outlives_the_thread() {
    let lab = Lab::new(Mode::Stop, records(4096));
    lab.keeper.set(true);
    let threads: Vec<_> = (0..8_u32)
        .map(|n| {
            let named = thread::Builder::new().name(format!("t{n}"));
            named.spawn(move || (0..=n).for_each(|_| inner())).expect("a thread")
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().expect("ends well"));
    lab.keeper.set(false);
    lab.file(|trace| {
        for n in 0..8 {
            let name = format!("t{n}");
            let thread = trace.threads().find(|t| t.info.name == name).expect("kept");
            assert_eq!(thread.records().len(), 1 + 2 * (n + 1));
            let last = thread.records().next_back().expect("some");
            assert!(thread.info.ended >= last.ticks, "it says when it ended");
        }
    });
}

#[test]
fn what_comes_in_a_signal_handler_spoils_nothing() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    let handled = || HANDLED.load(Ordering::Relaxed);
    extern "C" fn handler(_: i32) {
        {
            let _span = tracer::span!("handler");
            inner();
        }
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
    let lab = Lab::new(Mode::Stop, records(1 << 20));
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler records, which is made for that, and does nothing else.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("installed");
    lab.traced(|| {
        inner();
        // SAFETY: always succeeds.
        let (me, over) = (unsafe { libc::pthread_self() }, AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let before = handled();
                    // SAFETY: the thread outlives the scope that this one is in.
                    unsafe { libc::pthread_kill(me, libc::SIGUSR1) };
                    while handled() == before {
                        thread::yield_now();
                    }
                }
            });
            // So many records at most, however long the other thread has no CPU.
            for _ in 0..300 {
                let before = handled();
                (0..100).for_each(|_| outer(3));
                while handled() == before {
                    thread::yield_now();
                }
            }
            over.store(true, Ordering::Relaxed);
        });
    });
    lab.file(|trace| {
        let thread = trace.threads().find(|t| t.info.name == "traced").expect("kept");
        assert_eq!(thread.info.lost, 0, "there was room");
        let (mut open, mut in_handlers) = (Vec::new(), 0);
        for step in steps(trace) {
            in_handlers +=
                usize::from(open.iter().any(|open| open == "handler") || step == "handler");
            match step.strip_prefix('-') {
                None => open.push(step),
                Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "frames are nested"),
            }
        }
        assert!(open.is_empty(), "{open:?}");
        // A handler that came while an event was being written has lost all of its own, and says so.
        let busy = usize::try_from(thread.info.lost_busy).expect("few");
        assert_eq!(in_handlers + busy, 4 * handled(), "{busy} left out");
    });
}

#[test]
fn a_forked_child_does_not_write_into_its_parents_buffer() {
    use nix::sys::wait::waitpid;
    use nix::unistd::{ForkResult, fork};
    let lab = Lab::new(Mode::Stop, records(1024));
    lab.traced(|| {
        inner();
        let mut port = tracer::Port::new(tracer::format::journal::Port::default());
        // SAFETY: the child records, which touches no lock, and leaves by _exit.
        match unsafe { fork() }.expect("forked") {
            ForkResult::Child => {
                (0..100).for_each(|_| inner());
                port.set_name("the child's");
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                waitpid(child, None).expect("ended");
            }
        }
        inner();
    });
    assert_eq!(lab.file(steps), ["inner", "-inner", "inner", "-inner"]);
    assert_eq!(lab.file(|trace| trace.threads().count()), 1);
    let named = |entry: &Entry| matches!(entry, Entry::Port(port) if !port.name.is_empty());
    assert!(!lab.file(|trace| trace.processes[0].journal().any(|entry| named(&entry))));
}

#[test]
fn a_forked_child_that_starts_for_itself_has_a_trace_of_its_own() {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    let lab = Lab::new(Mode::Stop, records(1024));
    lab.traced(|| {
        inner();
        // SAFETY: nobody else holds a lock that the child needs: the other threads wait for this test's
        // turn; it leaves by _exit.
        match unsafe { fork() }.expect("forked") {
            ForkResult::Child => {
                let keeper = Arc::new(Keeper::new(Mode::Stop, records(256)).expect("memory"));
                let host = Arc::clone(&keeper);
                tracer::start(Process::default(), keeper.switch(), host).expect("started");
                keeper.set(true);
                (0..10).for_each(|_| inner());
                keeper.set(false);
                let dir = tempfile::tempdir().expect("a folder");
                let path = dir.path().join("child.pvtrace");
                let written = keeper.write(&path, &[]).expect("written");
                drop(dir);
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(i32::from(written.records != 21)) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).expect("ended"), WaitStatus::Exited(child, 0));
            }
        }
        lab.keeper.set(false);
        let ended = lab.file(|trace| trace.threads().map(|t| t.info.ended).collect::<Vec<_>>());
        assert_eq!(ended, [0], "the child has said nothing in this one's name");
        lab.keeper.set(true);
        inner();
    });
    assert_eq!(lab.file(steps), ["inner", "-inner", "inner", "-inner"]);
}

fn ring(half: Half, base: u32) -> Ring {
    let name = "vif1.0-q0-tx";
    Ring::new(&RingInfo { name, half, size: 256, base, in_order: true, awaited: true })
}

#[test]
fn both_sides_of_a_ring_speak_of_the_same_slots_and_causes_come_first() {
    let lab = Lab::new(Mode::Stop, records(4096));
    let base = u32::MAX - 2;
    lab.traced(|| {
        let (mut front, mut back) = (ring(Half::Front, base), ring(Half::Back, base));
        for n in 0..100_u32 {
            let (old, new) = (base.wrapping_add(8 * n), base.wrapping_add(8 * n + 8));
            let stamp = front.stamp();
            front.pushed(stamp, Slot::Request, old, new, n == 0);
            back.seen(Slot::Request, old, new);
            back.seen(Slot::Request, new, new);
            let stamp = back.stamp();
            back.pushed(stamp, Slot::Response, old, new, false);
            front.seen(Slot::Response, old, new);
        }
    });
    let events = lab.events();
    let (mut front, mut back) = (0, 0);
    lab.file(|trace| {
        for entry in trace.processes[0].journal() {
            if let Entry::Ring(ring) = entry {
                assert_eq!((ring.name.as_str(), ring.base), ("vif1.0-q0-tx", base));
                *if ring.half == Half::Front { &mut front } else { &mut back } = ring.id;
            }
        }
    });
    let slots = |ring, slot, n: u32| {
        let first = base.wrapping_add(8 * n);
        Slots { ring, slot, first, count: 8 }
    };
    assert_eq!(events[1], Event::Push { slots: slots(front, Slot::Request, 0), notify: true });
    for (n, four) in (0..).zip(events[1..].chunks(4)) {
        assert_eq!(four[1], Event::Pop(slots(back, Slot::Request, n)));
        let slots = slots(back, Slot::Response, n);
        assert_eq!(four[2], Event::Push { slots, notify: false });
        assert_eq!(four[3], Event::Pop(Slots { ring: front, ..slots }));
    }
}

#[test]
fn a_batch_larger_than_a_record_can_say_makes_several() {
    let lab = Lab::new(Mode::Stop, records(4096));
    lab.traced(|| {
        let mut ring = ring(Half::Front, 0);
        let stamp = ring.stamp();
        ring.pushed(stamp, Slot::Request, 5, 10_005, false);
    });
    let batches: Vec<_> = lab
        .events()
        .into_iter()
        .filter_map(|e| match e {
            Event::Push { slots, .. } => Some((slots.first, slots.count)),
            _ => None,
        })
        .collect();
    assert_eq!(batches, [(5, 4095), (4100, 4095), (8195, 1810)]);
}

#[test]
fn a_slow_request_freezes_the_trace() {
    let lab = Lab::new(Mode::Slow(200), records(4096));
    lab.traced(|| {
        let mut front = ring(Half::Front, 0);
        for n in 0..10 {
            let stamp = front.stamp();
            front.pushed(stamp, Slot::Request, n, n + 1, false);
            if n == 7 {
                thread::sleep(std::time::Duration::from_millis(1));
            }
            front.seen(Slot::Response, n, n + 1);
            inner();
        }
    });
    let count = lab.file(|trace| {
        let why = trace.run.iter().find(|(name, _)| name == "frozen").expect("said why");
        assert!(why.1.starts_with("request "), "{why:?}");
        stamped(trace).len()
    });
    assert!(count <= 1 + 4 * 8, "nothing after request 7: {count}");
    assert!(!lab.keeper.is_on());
    lab.keeper.set(true);
    assert!(!lab.keeper.is_on(), "it stays frozen");
}

#[test]
fn words_are_in_the_journal_while_recording_is_on() {
    let lab = Lab::new(Mode::Stop, records(1024));
    let say = |words: &str| {
        tracer::note(Note { level: Level::Warn, words: words.into(), ..Note::default() });
    };
    say("before");
    lab.keeper.set(true);
    say("now");
    lab.keeper.set(false);
    let words: Vec<_> = lab.file(|trace| {
        let journal = trace.processes[0].journal();
        journal.filter_map(|e| if let Entry::Note(n) = e { Some(n.words) } else { None }).collect()
    });
    assert_eq!(words, ["now"]);
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    const MORE: usize = 5;
    let lab = Lab::new(Mode::Stop, records(256));
    lab.traced(|| {
        inner();
        for _ in 1..MOST_THREADS + MORE {
            thread::spawn(inner).join().expect("it records or it does not");
        }
        for _ in 0..80 {
            tracer::note(Note { words: "w".repeat(60_000), ..Note::default() });
        }
    });
    lab.written(|trace, written| {
        assert_eq!((trace.threads().count(), written.threads), (MOST_THREADS, MORE as u64));
        let said = trace.run.iter().find(|(name, _)| name == REFUSED).expect("it is in the file");
        assert_eq!(said.1, MORE.to_string());
        let notes = trace.processes[0].journal().filter(|e| matches!(e, Entry::Note(_))).count();
        assert!(
            written.entries > 0 && written.entries + notes as u64 == 80,
            "{written:?}, {notes}"
        );
        assert_eq!(trace.processes[0].lost, written.entries);
    });
    drop(lab);
    let lab = Lab::new(Mode::Stop, records(256));
    lab.written(|trace, written| {
        assert_eq!((written.threads, written.entries, trace.run.len()), (0, 0, 1));
    });
}

#[test]
fn a_file_that_is_written_again_leaves_its_other_name_alone() {
    let lab = Lab::new(Mode::Stop, records(256));
    let dir = tempfile::tempdir().expect("a folder");
    let (path, other) = (dir.path().join("out.pvtrace"), dir.path().join("other.pvtrace"));
    lab.keeper.write(&path, &[]).expect("written");
    let was = std::fs::read(&path).expect("there");
    std::fs::hard_link(&path, &other).expect("linked");
    lab.traced(inner);
    lab.keeper.write(&path, &[]).expect("written");
    assert!(std::fs::read(&path).expect("there").len() > was.len());
    assert_eq!(std::fs::read(&other).expect("there"), was);
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let lab = Lab::new(Mode::Stop, records(1024));
    let error = lab.keeper.write(Path::new("/nowhere/out.pvtrace"), &[]).expect_err("no folder");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}
