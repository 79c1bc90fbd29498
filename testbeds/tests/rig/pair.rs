//! Both real ends of one vif in this process: netfront's queue, and netback's with a reflector behind it.

use std::time::{Duration, Instant};

use backend::wire::Reflect;
use backend::{Netback, Timers, VifEvent};
use frontend::{Netfront, Wanted};
use rings::cost::CostNs;
use rings::{DomId, GrantMode};
use rings_host::{Connect, Host, HostConfig, HostDomain};
use tempfile::TempDir;

use super::WATCHDOG;

/// A host and the two domains.
pub(crate) struct Ends {
    pub(crate) host: Host,
    pub(crate) front: HostDomain,
    pub(crate) back: HostDomain,
    pub(crate) dir: TempDir,
}

/// The drivers, connected.
pub(crate) struct Pair {
    pub(crate) netfront: Netfront<HostDomain>,
    pub(crate) front: frontend::Queue<HostDomain>,
    /// Serves the vif as long as it is there.
    pub(crate) netback: Netback<HostDomain>,
    pub(crate) back: Reflect<HostDomain>,
}

impl Ends {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let lab = Some(dir.path().join("lab"));
        let host = Host::start(HostConfig { dir: lab, ..HostConfig::default() }).expect("a host");
        let join = |domid, name: &str| {
            let (dir, name, cost) = (host.dir().to_owned(), name.into(), CostNs::default());
            let connect = Connect { dir, domid, pool_frames: 0, name, cost };
            HostDomain::connect(&connect).expect("the host takes it")
        };
        let (back, front) = (join(Some(DomId::DOM0), "netback"), join(None, "netfront"));
        Self { host, front, back, dir }
    }

    /// Brings up a vif of one queue whose indices begin there.
    pub(crate) fn connect(&self, index_base: u32) -> Pair {
        let config = frontend::Config {
            handle: 0,
            wanted: Wanted { csum_tx: true, csum_rx: true, gso: true, sg: true, queues: 1 },
            always_notify: false,
            index_base,
            timeout: WATCHDOG,
        };
        let back = &self.back;
        std::thread::scope(|scope| {
            let served = scope.spawn(|| serve(back));
            let (netfront, mut queues) = Netfront::connect(&self.front, &config).expect("a vif");
            let (netback, queue) = served.join().expect("netback serves");
            let front = queues.pop().expect("one queue");
            Pair { netfront, front, netback, back: Reflect::new(queue) }
        })
    }

    pub(crate) fn goodbye(self) {
        self.front.goodbye(0);
        self.back.goodbye(0);
    }
}

/// netback's control half, until the first vif is up.
fn serve(back: &HostDomain) -> (Netback<HostDomain>, backend::Queue<HostDomain>) {
    let config = backend::Config {
        max_queues: 1,
        grant: GrantMode::Copy,
        batch: 32,
        always_notify: false,
        timers: Timers::LINUX,
    };
    let mut netback = Netback::new(back, config).expect("the store answers");
    let deadline = Instant::now() + WATCHDOG;
    while Instant::now() < deadline {
        for event in netback.step(Duration::from_millis(50)).expect("the store answers") {
            if let VifEvent::Connected(_, mut queues) = event {
                return (netback, queues.pop().expect("one queue"));
            }
        }
    }
    panic!("no vif came up");
}
