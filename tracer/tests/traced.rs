//! `#[traced]` on functions of every shape: it changes nothing but what is recorded.

#![cfg(not(feature = "no-trace"))]

use std::sync::Arc;

use tracer::format::journal::Process;
use tracer::format::{Entry, Event, Mapped, Trace};
use tracer::keeper::{Keeper, Mode};
use tracer::traced;

#[traced]
fn plain() {}

#[traced(GUEST, times = times)]
fn early(times: u32) -> Option<u32> {
    plain();
    (times > 1).then_some(())?;
    if times > 2 {
        return Some(times);
    }
    None
}

struct Thing<T>(Vec<T>);

impl<T: Clone + Default> Thing<T> {
    /// Its argument is an expression of what it was given.
    #[traced(len = self.0.len())]
    fn grow<const N: usize>(&mut self, by: impl FnOnce(&mut Vec<T>)) -> &mut [T]
    where
        T: PartialEq,
    {
        self.0.resize(N, T::default());
        by(&mut self.0);
        &mut self.0
    }
}

#[traced(quiet)]
fn look(found: bool) -> bool {
    if found {
        plain();
    }
    found
}

#[traced(fine, bytes = bytes)]
fn each_frame(bytes: u16) -> u16 {
    bytes
}

#[test]
fn functions_of_every_shape_are_recorded() {
    let keeper = Arc::new(Keeper::new(Mode::Stop, 1 << 16).expect("memory"));
    let host = Arc::clone(&keeper);
    tracer::start(Process::default(), keeper.switch(), host).expect("started");
    keeper.set(true);
    assert_eq!([early(1), early(2), early(3)], [None, None, Some(3)]);
    assert_eq!(Thing(vec![7_u8]).grow::<3>(|v| v.push(9)), [7, 0, 0, 9]);
    assert!(!look(false) && look(true));
    assert_eq!(each_frame(60_000), 60_000);
    keeper.set(false);

    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("out.pvtrace");
    keeper.write(&path, &[]).expect("written");
    let file = Mapped::open(&path).expect("there");
    let trace = Trace::parse(&file).expect("a trace");
    let sites: Vec<_> = trace.processes[0]
        .journal()
        .filter_map(|entry| if let Entry::Site(site) = entry { Some(site) } else { None })
        .collect();
    let site = |id| sites.iter().find(|site| site.id == id).expect("in the table");
    let mut steps = Vec::new();
    for record in trace.threads().flat_map(tracer::format::Thread::records) {
        match record.event() {
            Event::Enter { site: id, arg } => steps.push(format!("{}({arg})", site(id).name)),
            Event::Exit { site: id, .. } => steps.push(format!("-{}", site(id).name)),
            _ => {}
        }
    }
    let once = |n| [format!("early({n})"), "plain(0)".into(), "-plain".into(), "-early".into()];
    let mut expected: Vec<String> = [once(1), once(2), once(3)].concat();
    expected.extend(["grow(1)", "-grow", "look(0)", "plain(0)", "-plain", "-look"].map(Into::into));
    if tracer::FINE {
        expected.extend(["each_frame(60000)", "-each_frame"].map(Into::into));
    }
    assert_eq!(steps, expected);
    let early = sites.iter().find(|site| site.name == "early").expect("in the table");
    assert_eq!((early.category.as_str(), early.module.as_str()), ("guest", "traced"));
}
