//! A store, its clients, and the wire between them, all in one thread.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rings::DomId;
use rings::io::xs_wire::XsdError;
use rings::store::{Nodes, Perm, StoreError, Transport, XsClient};
use rings_host::store::{ConnId, Quota, Xenstored};

pub(crate) type Client = XsClient<Wire>;

/// A store that several clients can hold on to.
#[derive(Clone)]
pub(crate) struct Lab(Arc<Mutex<Xenstored>>);

/// One client's bytes. Requests arrive in odd pieces, replies too.
pub(crate) struct Wire {
    pub(crate) lab: Lab,
    pub(crate) id: ConnId,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with_quota(Quota::xen())
    }

    pub(crate) fn with_quota(quota: Quota) -> Self {
        Self(Arc::new(Mutex::new(Xenstored::with_quota(quota))))
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Xenstored> {
        self.0.lock().unwrap()
    }

    pub(crate) fn client(&self, domid: u16) -> Client {
        let id = self.store().connect(DomId(domid));
        XsClient::new(Wire { lab: self.clone(), id })
    }

    /// A guest with a home it owns, as the toolstack leaves `data` to it.
    pub(crate) fn guest(&self, domid: u16) -> Client {
        let home = format!("/local/domain/{domid}");
        let mut store = self.store();
        store.mkdir(&home).unwrap();
        store.set_perms(&home, &[Perm::none(DomId(domid))]).unwrap();
        store.introduce(DomId(domid));
        drop(store);
        self.client(domid)
    }
}

impl Transport for Wire {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(1000).for_each(|chunk| self.lab.store().input(self.id, chunk));
        Ok(())
    }

    fn recv(&mut self, buf: &mut [u8], timeout: Option<Duration>) -> io::Result<usize> {
        let mut store = self.lab.store();
        let output = store.output(self.id);
        let len = output.len().min(buf.len()).min(777);
        buf[..len].copy_from_slice(&output[..len]);
        store.wrote(self.id, len);
        match len {
            0 if store.is_dead(self.id) => Ok(0),
            // Nobody else runs: what is not there now will never come.
            0 if timeout.is_some() => Err(io::ErrorKind::TimedOut.into()),
            0 => panic!("would wait for ever"),
            len => Ok(len),
        }
    }
}

/// Xen's name for why a call failed.
pub(crate) fn refused<R: std::fmt::Debug>(outcome: Result<R, StoreError>) -> XsdError {
    outcome.expect_err("should be refused").xsd_error().expect("should be refused by the store")
}

pub(crate) fn perms(text: &str) -> Vec<Perm> {
    text.split(',').map(|perm| perm.parse().unwrap()).collect()
}

/// Paths and tokens of all events that wait.
pub(crate) fn events(client: &mut Client) -> Vec<(String, String)> {
    let mut events = Vec::new();
    while let Some(event) = client.next_event(Some(Duration::ZERO)).unwrap() {
        events.push((event.path, event.token));
    }
    events
}

/// Only the paths.
pub(crate) fn event_paths(client: &mut Client) -> Vec<String> {
    events(client).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn a_value_goes_there_and_back() {
    let lab = Lab::new();
    let mut dom0 = lab.client(0);
    dom0.write("/a/b", b"\0any\xffbytes\0").unwrap();
    assert_eq!(dom0.read("/a/b").unwrap(), b"\0any\xffbytes\0");
    assert_eq!(dom0.read("/a").unwrap(), b"");
    assert_eq!(dom0.directory("/a").unwrap(), ["b"]);
    assert_eq!(refused(dom0.read("/a/c")), XsdError::ENOENT);
    assert_eq!(
        dom0.read("/a/c").unwrap_err().to_string(),
        "xenstore: READ /a/c: ENOENT",
        "path and Xen's name"
    );
    assert_eq!(dom0.get_domain_path(DomId(7)).unwrap(), "/local/domain/7");
}
