//! The toolstack: what it writes into the store for each domain and device, and its own copy of it.
//!
//! Permissions and their order are those of libxl on Xen 4.17; so are keys and values, which are in
//! `keys`. The hotplug script is played here too: it reports `connected` as soon as the backend waits
//! for it.

use rings::DomId;
use rings::io::xs_wire::XsdError;
use rings::store::keys::{BACKEND, FRONTEND, HOTPLUG_STATUS, ONLINE, STATE};
use rings::store::{Perm, XenbusState};

use super::{Device, keys};
use crate::store::Xenstored;

/// One device, as the toolstack configured it. Neither end can change this copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Configured {
    pub(super) kind: &'static str,
    pub(super) front: DomId,
    pub(super) back: DomId,
    pub(super) handle: u32,
}

impl Configured {
    pub(super) fn front_dir(&self) -> String {
        format!("/local/domain/{}/device/{}/{}", self.front, self.kind, self.handle)
    }

    pub(super) fn back_dir(&self) -> String {
        let Self { kind, front, back, handle } = self;
        format!("/local/domain/{back}/backend/{kind}/{front}/{handle}")
    }

    fn libxl_dir(&self) -> String {
        format!("/libxl/{}/device/{}/{}", self.front, self.kind, self.handle)
    }
}

/// All devices of the lab.
pub(super) struct Devices {
    devices: Vec<Configured>,
    /// What each guest gets.
    each: Device,
}

impl Devices {
    pub(super) fn new(xs: &mut Xenstored, each: Device) -> Self {
        for path in ["/tool", "/tool/xenstored", "/local", "/local/domain"] {
            Toolstack(xs).mkdir(path);
        }
        Self { devices: Vec::new(), each }
    }

    /// Whether `back` is the backend of one of `front`'s devices.
    pub(super) fn serves(&self, back: DomId, front: DomId) -> bool {
        self.devices.iter().any(|d| d.back == back && d.front == front)
    }

    /// A domain begins: its home, and for a guest its device.
    pub(super) fn introduce(&mut self, xs: &mut Xenstored, domid: DomId) {
        let kind = keys::kind(&self.each);
        home(xs, domid, kind);
        xs.introduce(domid);
        if domid == DomId::DOM0 {
            // The backend may come after its frontends.
            for device in &self.devices {
                backend_nodes(xs, device, &self.each);
            }
            return;
        }
        let handle = keys::handle(&self.each);
        let device = Configured { kind, front: domid, back: DomId::DOM0, handle };
        libxl_names(xs, &device);
        frontend_nodes(xs, &device, &self.each);
        backend_nodes(xs, &device, &self.each);
        libxl_copy(xs, &device, &self.each);
        // A former guest of this number may have left it, if no backend has closed it since.
        self.devices.retain(|known| *known != device);
        self.devices.push(device);
    }

    /// A domain is gone. A guest's own nodes go first, as `xl destroy` removes them, and its
    /// backends see it; a backend's nodes go at once, and its frontends see that.
    pub(super) fn gone(&mut self, xs: &mut Xenstored, domid: DomId) {
        let mut t = Toolstack(xs);
        for device in self.devices.iter().filter(|d| d.front == domid) {
            t.write(&format!("{}/{}", device.back_dir(), ONLINE), "0");
        }
        if domid != DomId::DOM0 {
            t.rm(&format!("/local/domain/{domid}"));
            t.rm(&format!("/libxl/{domid}"));
        }
        for device in self.devices.iter().filter(|d| d.back == domid) {
            t.rm(&device.back_dir());
        }
        self.devices.retain(|d| d.front != domid || t.exists(&d.back_dir()));
    }

    /// Something below a backend directory changed: plays the hotplug script, and removes a device
    /// whose both ends are done.
    pub(super) fn backend_changed(&mut self, xs: &mut Xenstored) {
        let mut t = Toolstack(xs);
        let each = &self.each;
        self.devices.retain(|device| {
            let dir = device.back_dir();
            let state = t.read(&format!("{dir}/{}", STATE));
            let state = state.map_or(XenbusState::Unknown, |s| XenbusState::from_text(&s));
            let hotplug = format!("{dir}/{}", HOTPLUG_STATUS);
            if state == XenbusState::InitWait && t.read(&hotplug).is_none_or(|s| s.is_empty()) {
                for (key, value) in keys::hotplug(each) {
                    t.write(&format!("{dir}/{key}"), &value);
                }
            }
            let front_gone = !t.exists(&device.front_dir());
            let done = front_gone && matches!(state, XenbusState::Closed | XenbusState::Unknown);
            if done {
                t.rm(&dir);
                t.rm_if_empty(&format!(
                    "/local/domain/{}/backend/{}/{}",
                    device.back, device.kind, device.front
                ));
            }
            !done
        });
    }
}

/// `/local/domain/<domid>`: the guest may read it; what it may write are the nodes that are its
/// own.
fn home(xs: &mut Xenstored, domid: DomId, kind: &str) {
    let mut t = Toolstack(xs);
    let home = format!("/local/domain/{domid}");
    let perms: &[Perm] = &[Perm::none(DomId::DOM0), Perm::read(domid)];
    let perms = if domid == DomId::DOM0 { &perms[..1] } else { perms };
    t.mkdir(&home);
    t.set_perms(&home, perms);
    let name = if domid == DomId::DOM0 { "Domain-0".into() } else { format!("guest{domid}") };
    t.write(&format!("{home}/domid"), &domid.to_string());
    t.write(&format!("{home}/name"), &name);
    if domid == DomId::DOM0 {
        t.mkdir(&format!("{home}/backend"));
        t.mkdir(&format!("{home}/backend/{kind}"));
        return;
    }
    t.mkdir(&format!("{home}/device"));
    t.mkdir(&format!("{home}/device/{kind}"));
    for own in ["data", "drivers", "feature", "attr", "error"] {
        let path = format!("{home}/{own}");
        t.mkdir(&path);
        t.set_perms(&path, &[Perm::none(domid)]);
    }
}

fn frontend_nodes(xs: &mut Xenstored, device: &Configured, each: &Device) {
    let mut t = Toolstack(xs);
    let dir = device.front_dir();
    let perms = [Perm::none(device.front), Perm::read(device.back)];
    t.rm(&dir);
    t.mkdir(&dir);
    t.set_perms(&dir, &perms);
    for (key, value) in keys::of_front(device, each) {
        let path = format!("{dir}/{key}");
        t.write(&path, &value);
        // The first has those of the directory already, and libxl leaves it at that.
        if key != BACKEND {
            t.set_perms(&path, &perms);
        }
    }
    for (key, value) in keys::of_front_read_only(each) {
        let path = format!("{dir}/{key}");
        t.write(&path, &value);
        t.set_perms(&path, &[Perm::none(device.back), Perm::read(device.front)]);
    }
}

fn backend_nodes(xs: &mut Xenstored, device: &Configured, each: &Device) {
    let mut t = Toolstack(xs);
    let dir = device.back_dir();
    t.rm(&dir);
    t.mkdir(&dir);
    t.set_perms(&dir, &[Perm::none(device.back), Perm::read(device.front)]);
    for (key, value) in keys::of_back(device, each) {
        t.write(&format!("{dir}/{key}"), &value);
    }
    for (key, value) in keys::of_back_alone(each) {
        t.write(&format!("{dir}/{key}"), &value);
    }
}

/// The toolstack's own copy, which neither end can write: first where the two ends are.
fn libxl_names(xs: &mut Xenstored, device: &Configured) {
    let mut t = Toolstack(xs);
    let dir = device.libxl_dir();
    t.rm(&dir);
    t.write(&format!("{dir}/{FRONTEND}"), &device.front_dir());
    t.write(&format!("{dir}/{BACKEND}"), &device.back_dir());
}

/// The toolstack's own copy: then what the backend was told.
fn libxl_copy(xs: &mut Xenstored, device: &Configured, each: &Device) {
    let mut t = Toolstack(xs);
    let dir = device.libxl_dir();
    for (key, value) in keys::of_back(device, each).into_iter().skip(1) {
        t.write(&format!("{dir}/{key}"), &value);
    }
}

/// The store as the toolstack uses it: nothing it does can fail but for bugs, which are logged.
pub(super) struct Toolstack<'a>(pub(super) &'a mut Xenstored);

impl Toolstack<'_> {
    pub(super) fn mkdir(&mut self, path: &str) {
        logged(path, self.0.mkdir(path));
    }

    pub(super) fn write(&mut self, path: &str, value: &str) {
        logged(path, self.0.write(path, value));
    }

    pub(super) fn set_perms(&mut self, path: &str, perms: &[Perm]) {
        logged(path, self.0.set_perms(path, perms));
    }

    fn read(&mut self, path: &str) -> Option<String> {
        self.0.read(path).ok().map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    fn exists(&mut self, path: &str) -> bool {
        self.0.read(path).is_ok()
    }

    pub(super) fn rm(&mut self, path: &str) {
        if self.exists(path) {
            logged(path, self.0.rm(path));
        }
    }

    fn rm_if_empty(&mut self, path: &str) {
        if self.0.list(path).is_ok_and(|children| children.is_empty()) {
            self.rm(path);
        }
    }
}

fn logged(path: &str, outcome: Result<(), XsdError>) {
    if let Err(error) = outcome {
        tracing::error!(path, error = error.name(), "the toolstack cannot write the store");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_comes_again_and_again_has_one_device() {
        let mut xs = Xenstored::new();
        let mut devices = Devices::new(&mut xs, Device::Vif { mtu: 1500, rate: None });
        for _ in 0..3 {
            devices.introduce(&mut xs, DomId(1));
            assert_eq!(devices.devices.len(), 1);
            // No backend lives that would close it.
            devices.gone(&mut xs, DomId(1));
        }
    }
}
