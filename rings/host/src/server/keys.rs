//! The keys libxl and the hotplug script write for each kind of device, in their order. Where they go,
//! and who may read them, is said by `devices`.

use rings::DomId;
use rings::store::XenbusState;
use rings::store::keys::{
    BACKEND, BACKEND_ID, DEVICE_TYPE, DISCARD_ENABLE, FRONTEND, FRONTEND_ID, HANDLE,
    HOTPLUG_STATUS, MAC, MODE, MTU, ONLINE, PARAMS, PHYSICAL_DEVICE_PATH, PROTOCOL, RATE, STATE,
    TRUSTED, VIRTUAL_DEVICE,
};

use super::Device;
use super::devices::Configured;

/// Keys with their values.
type Pairs = Vec<(&'static str, String)>;

/// `xvda`: major number 202, minor number 0.
const XVDA: u32 = 202 << 8;

/// The word for the kind in paths.
pub(super) fn kind(each: &Device) -> &'static str {
    match each {
        Device::Vif { .. } => "vif",
        Device::Vbd { .. } => "vbd",
    }
}

/// The number of a guest's one device of this kind.
pub(super) fn handle(each: &Device) -> u32 {
    match each {
        Device::Vif { .. } => 0,
        Device::Vbd { .. } => XVDA,
    }
}

fn initialising() -> String {
    XenbusState::Initialising.number().to_string()
}

/// What the toolstack writes for the frontend, which then owns it.
pub(super) fn of_front(device: &Configured, each: &Device) -> Pairs {
    let mut all = vec![
        (BACKEND, device.back_dir()),
        (BACKEND_ID, device.back.to_string()),
        (STATE, initialising()),
    ];
    match each {
        Device::Vif { .. } => {
            all.extend([(HANDLE, device.handle.to_string()), (MAC, mac(device))]);
        }
        Device::Vbd { .. } => {
            all.extend([(VIRTUAL_DEVICE, device.handle.to_string()), (DEVICE_TYPE, "disk".into())])
        }
    }
    all.push((TRUSTED, "1".into()));
    if let Device::Vbd { .. } = each {
        all.push((PROTOCOL, "x86_64-abi".into()));
    }
    all
}

/// What the toolstack writes for the frontend to read only.
pub(super) fn of_front_read_only(each: &Device) -> Pairs {
    match each {
        Device::Vif { mtu, .. } => vec![(MTU, mtu.to_string())],
        Device::Vbd { .. } => Vec::new(),
    }
}

/// What the toolstack writes for the backend, and keeps a copy of.
pub(super) fn of_back(device: &Configured, each: &Device) -> Pairs {
    let front = (FRONTEND, device.front_dir());
    let front_id = (FRONTEND_ID, device.front.to_string());
    let (online, state) = ((ONLINE, "1".into()), (STATE, initialising()));
    match each {
        Device::Vif { rate, .. } => {
            let mut all = vec![
                front,
                front_id,
                online,
                state,
                ("script", "vif-pvlab".into()),
                (MAC, mac(device)),
            ];
            all.extend(rate.clone().map(|rate| (RATE, rate)));
            all.extend([
                ("bridge", "pvlab0".into()),
                (HANDLE, device.handle.to_string()),
                ("type", "vif".into()),
                (HOTPLUG_STATUS, String::new()),
            ]);
            all
        }
        Device::Vbd { params, read_only, discard } => vec![
            front,
            (PARAMS, params.clone()),
            ("script", "block-pvlab".into()),
            front_id,
            online,
            ("removable", "0".into()),
            ("bootable", "1".into()),
            state,
            ("dev", "xvda".into()),
            ("type", "phy".into()),
            (MODE, if *read_only { "r" } else { "w" }.into()),
            (DEVICE_TYPE, "disk".into()),
            (DISCARD_ENABLE, if *discard { "1" } else { "0" }.into()),
            ("specification", "xen".into()),
        ],
    }
}

/// What the toolstack writes for the backend without keeping a copy.
pub(super) fn of_back_alone(each: &Device) -> Pairs {
    match each {
        Device::Vif { mtu, .. } if *mtu != 1500 => vec![(MTU, mtu.to_string())],
        _ => Vec::new(),
    }
}

/// What the hotplug script writes when the backend waits for it.
pub(super) fn hotplug(each: &Device) -> Pairs {
    let connected = (HOTPLUG_STATUS, "connected".to_owned());
    match each {
        Device::Vif { .. } => vec![connected],
        Device::Vbd { params, .. } => vec![(PHYSICAL_DEVICE_PATH, params.clone()), connected],
    }
}

fn mac(device: &Configured) -> String {
    vif_mac(device.front, device.handle).map(|octet| format!("{octet:02x}")).join(":")
}

/// The Ethernet address that the toolstack gives to a guest's vif: one of Xen's own range. Whoever may read the
/// `mac` key goes by that, which can be changed; a guest may not read another's.
#[must_use]
pub fn vif_mac(guest: DomId, handle: u32) -> [u8; 6] {
    let ([high, low], [.., handle]) = (guest.0.to_be_bytes(), handle.to_be_bytes());
    [0, 0x16, 0x3e, handle, high, low]
}
