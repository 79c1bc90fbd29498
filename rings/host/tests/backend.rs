//! The control half of every backend over a real host: whose fault it is that a device does not come up. What
//! real devices do is tried with netback and blkback.

use std::time::{Duration, Instant};

use rings::cost::CostNs;
use rings::io::xs_wire::XsdType;
use rings::store::backend::{Backend, ConnectError, Device, Event, Kind, Store};
use rings::store::{Nodes, StoreError, XenbusState, keys, xenbus};
use rings::{DomId, Domain};
use rings_host::{Connect, Host, HostConfig, HostDomain};

/// Only a hang takes as long.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Serves vifs, none of which comes up: when it is to read a guest's keys it fails as it was told.
#[derive(Debug)]
struct Failing {
    store: Store<Self>,
    why: fn() -> StoreError,
}

impl Kind for Failing {
    const NAME: &'static str = "vif";
    const OFFERED: &'static str = keys::FEATURE_RX_COPY;
    const STEPWISE: bool = true;

    type Domain = HostDomain;
    type Config = fn() -> StoreError;
    type Queue = ();
    type Own = ();

    fn new(domain: &HostDomain, why: Self::Config) -> Result<Self, ConnectError> {
        Ok(Self { store: domain.store()?, why })
    }

    fn store(&mut self) -> &mut Store<Self> {
        &mut self.store
    }

    fn offer(&mut self, back: &str) -> Result<(), StoreError> {
        self.store.write(&format!("{back}/{}", Self::OFFERED), "1")
    }

    fn is_ready(&mut self, _: &mut Device<Self>, front: XenbusState) -> Result<bool, StoreError> {
        Ok(front == XenbusState::Connected)
    }

    fn connect(&mut self, _: &mut Device<Self>) -> Result<Vec<()>, ConnectError> {
        Err((self.why)().into())
    }
}

/// What becomes of a backend whose guest is ready: its error, or the error node of the device it gave up.
fn end(why: fn() -> StoreError) -> Result<String, StoreError> {
    let host = Host::start(HostConfig::default()).expect("a host");
    let connect = |domid| {
        let (dir, name) = (host.dir().to_owned(), "test".into());
        let cost = CostNs::default();
        HostDomain::connect(&Connect { dir, domid: Some(domid), pool_frames: 16, name, cost })
            .expect("a domain")
    };
    let (dom0, guest) = (connect(DomId::DOM0), connect(DomId(1)));
    let mut backend = Backend::<Failing>::new(&dom0, why).expect("a backend");
    let mut front = guest.store().expect("a store");
    xenbus::switch_state(&mut front, "device/vif/0", XenbusState::Connected).expect("ours");
    let mut dom0 = dom0.store().expect("a store");
    let deadline = Instant::now() + WATCHDOG;
    while Instant::now() < deadline {
        let events: Vec<Event<()>> = backend.step(Duration::from_millis(10))?;
        assert!(events.is_empty(), "{events:?}");
        if let Some(text) = dom0.read_if_present("error/backend/vif/1/0/error")? {
            return Ok(text);
        }
    }
    panic!("the guest is waited for without end");
}

#[test]
fn a_store_that_is_gone_is_no_fault_of_the_guests() {
    let gone = end(|| StoreError::TimedOut(XsdType::READ));
    assert!(matches!(gone, Err(StoreError::TimedOut(XsdType::READ))), "{gone:?}");
    let lie = end(|| StoreError::Conflict(3));
    assert!(lie.as_ref().is_ok_and(|text| text.contains("conflict after 3")), "{lie:?}");
}
