//! The toolstack's part of a guest's console: the page and its grant, the port, and the keys, all
//! before the guest runs. There is no handshake: the guest just writes, xenconsoled just reads.
//!
//! Keys, values, permissions and their order are those of libxl on Xen 4.17. The guest may not write
//! them, `backend-id` apart: a path it could change would be one the backend opens (XSA-57).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rings::bytes::ConsolePage;
use rings::grant::{GrantPage, GrantTable, Layout};
use rings::io::grant_table::RESERVED_CONSOLE;
use rings::store::{Perm, keys};
use rings::{DomId, Pfn, Port};

use super::ConsoleConfig;
use super::devices::Toolstack;
use crate::mapping::map;
use crate::store::Xenstored;

/// Who serves all consoles.
const BACK: DomId = DomId::DOM0;

/// Every guest's console: what its keys say that is not the same for all.
#[derive(Debug, Default)]
pub(super) struct Consoles {
    config: ConsoleConfig,
    guests: BTreeMap<DomId, (Port, Pfn)>,
}

impl Consoles {
    pub(super) fn new(config: ConsoleConfig) -> Self {
        Self { config, guests: BTreeMap::new() }
    }

    /// Whether `back` serves the console of `front`.
    pub(super) fn serves(&self, back: DomId, front: DomId) -> bool {
        back == BACK && self.guests.contains_key(&front)
    }

    /// Who may bind a console's port.
    pub(super) fn back() -> DomId {
        BACK
    }

    /// Makes the page of a guest's console and grants it; `None` if its memory cannot be mapped.
    pub(super) fn prepare(&self, memory: &OwnedFd, layout: &Layout) -> Option<()> {
        let region = map(memory, layout.bytes()).ok()?;
        let mut grants = GrantTable::new(GrantPage::new(&region, layout)?);
        ConsolePage::new(region.page(Pfn(layout.console))?).init(self.config.index_base);
        grants.grant_at(RESERVED_CONSOLE, BACK, Pfn(layout.console), false);
        Some(())
    }

    /// A guest begins: the keys of its console, which has this port and this page.
    pub(super) fn introduce(&mut self, xs: &mut Xenstored, front: DomId, port: Port, page: Pfn) {
        self.guests.insert(front, (port, page));
        let mut t = Toolstack(xs);
        t.write(&format!("{}/{}", libxl_dir(front), keys::FRONTEND), &front_dir(front));
        t.write(&format!("{}/{}", libxl_dir(front), keys::BACKEND), &back_dir(front));
        self.frontend_nodes(&mut t, front, port, page);
        backend_nodes(&mut t, front);
        for (key, value) in trusted(front).into_iter().skip(1) {
            t.write(&format!("{}/{key}", libxl_dir(front)), &value);
        }
    }

    /// xenconsoled's domain begins: what its guests' consoles are called there.
    pub(super) fn introduce_back(&mut self, xs: &mut Xenstored) {
        for &front in self.guests.keys() {
            backend_nodes(&mut Toolstack(xs), front);
        }
    }

    /// A domain is gone. What a guest had of its own goes with its home.
    pub(super) fn gone(&mut self, xs: &mut Xenstored, domid: DomId) {
        let mut t = Toolstack(xs);
        if domid == BACK {
            for &front in self.guests.keys() {
                t.rm(&back_dir(front));
                // Nobody opens a terminal that has died with its daemon.
                t.write(&format!("{}/{}", front_dir(front), keys::TTY), "");
            }
        } else if self.guests.remove(&domid).is_some() {
            t.rm(&format!("/local/domain/{BACK}/backend/console/{domid}"));
        }
    }

    fn frontend_nodes(&self, t: &mut Toolstack<'_>, front: DomId, port: Port, page: Pfn) {
        let dir = front_dir(front);
        let theirs = [Perm::none(BACK), Perm::read(front)];
        t.rm(&dir);
        t.mkdir(&dir);
        t.set_perms(&dir, &theirs);
        t.write(&format!("{dir}/{}", keys::BACKEND), &back_dir(front));
        let backend_id = format!("{dir}/{}", keys::BACKEND_ID);
        t.write(&backend_id, &BACK.to_string());
        t.set_perms(&backend_id, &[Perm::none(front), Perm::read(BACK)]);
        for (key, value) in [
            (keys::LIMIT, self.config.limit.to_string()),
            (keys::TYPE, "xenconsoled".into()),
            (keys::OUTPUT, "pty".into()),
            (keys::TTY, String::new()),
            (keys::PORT, port.to_string()),
            // The frame itself: the gref of a console is always the same.
            (keys::RING_REF, page.0.to_string()),
        ] {
            let path = format!("{dir}/{key}");
            t.write(&path, &value);
            t.set_perms(&path, &theirs);
        }
    }
}

fn front_dir(front: DomId) -> String {
    format!("/local/domain/{front}/console")
}

fn back_dir(front: DomId) -> String {
    format!("/local/domain/{BACK}/backend/console/{front}/0")
}

fn libxl_dir(front: DomId) -> String {
    format!("/libxl/{front}/device/console/0")
}

fn backend_nodes(t: &mut Toolstack<'_>, front: DomId) {
    let dir = back_dir(front);
    t.rm(&dir);
    t.mkdir(&dir);
    t.set_perms(&dir, &[Perm::none(BACK), Perm::read(front)]);
    for (key, value) in trusted(front) {
        t.write(&format!("{dir}/{key}"), &value);
    }
}

/// What the toolstack writes for the backend, in libxl's order.
fn trusted(front: DomId) -> [(&'static str, String); 5] {
    [
        (keys::FRONTEND, front_dir(front)),
        (keys::FRONTEND_ID, front.to_string()),
        (keys::ONLINE, "1".into()),
        (keys::STATE, "1".into()),
        (keys::PROTOCOL, "vt100".into()),
    ]
}
