//! What a guest's keys ask for, checked, and the keys that describe the disk to it.

use std::sync::Arc;

use rings::io::blkif::{PROTO_ARM, PROTO_X86_64, SECTOR_SIZE, VdiskInfo, queue_name};
use rings::ring::Answered;
use rings::store::backend::ConnectError;
use rings::store::frontends::number;
use rings::store::{Nodes, StoreError, keys, xenbus};
use rings::weaken::{Check, skipped};
use rings::{Domain, Foreign, GrantMode, Gref, Port};
use tracer::traced;

use super::access::{Access, MAX_PERSISTENT};
use super::disk::Geometry;
use super::parse::Rules;
use super::pending::MEMORY;
use super::queue::{Live, Parts, Queue};
use super::serve::attach;
use super::vbd::{Config, VbdId};

/// What a guest has published.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) rings: Vec<RingKeys>,
    /// It does not mind pages that stay mapped.
    persistent: bool,
}

/// The disk as one guest has it: the toolstack may keep more from it than the disk does itself.
pub(super) fn disk<N: Nodes>(
    store: &mut N,
    back: &str,
    config: &Config,
) -> Result<Geometry, StoreError> {
    let disk = config.disk.geometry();
    let mode = store.read_if_present(&format!("{back}/{}", keys::MODE))?;
    // XSA-142. As Linux' blkback has it: whatever has no `w` in it is for reading.
    let read_only = mode.is_some_and(|mode| !mode.contains('w'));
    let enabled = xenbus::read_u32_if_present(store, &format!("{back}/{}", keys::DISCARD_ENABLE))?;
    let discard = disk.discard.filter(|_| enabled != Some(0));
    Ok(Geometry { read_only: disk.read_only || read_only, discard, ..disk })
}

/// One ring.
#[derive(Debug)]
pub(super) struct RingKeys {
    /// Which of the vbd's.
    number: u32,
    grefs: Vec<Gref>,
    port: Port,
}

/// What stands in a guest's directory as its port, and in that of its first queue: any bytes.
pub(super) type Ports = [Vec<u8>; 2];

/// The ports a guest has published, as it wrote them; to tell one connection from another, since port
/// numbers are never used twice. `None` if there are none.
pub(super) fn ports<N: Nodes>(store: &mut N, front: &str) -> Result<Option<Ports>, StoreError> {
    let mut ports = Ports::default();
    for (dir, port) in
        [front.to_owned(), format!("{front}/{}", keys::queue(0))].iter().zip(&mut ports)
    {
        match store.read(&format!("{dir}/{}", keys::EVENT_CHANNEL)) {
            Ok(text) => *port = text,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ports.iter().any(|port| !port.is_empty()).then_some(ports))
}

/// Reads what a guest has published.
pub(super) fn read<N: Nodes>(
    store: &mut N,
    front: &str,
    config: &Config,
) -> Result<Asked, ConnectError> {
    let protocol = store.read_if_present(&format!("{front}/{}", keys::PROTOCOL))?;
    // Absent means the native one, as blkif.h has it.
    let foreign = protocol.filter(|p| p != PROTO_X86_64 && p != PROTO_ARM);
    if let Some(protocol) = foreign.filter(|_| !skipped(Check::BlkProtocol)) {
        let served = "only x86_64-abi (or arm-abi, which is the same) is served";
        return Err(ConnectError::Own(format!("protocol is {protocol}, and {served}")));
    }
    let count = number(store, front, keys::MULTI_QUEUE_NUM_QUEUES, 1, 1..=config.max_queues)?;
    let order = number(store, front, keys::RING_PAGE_ORDER, 0, 0..=config.max_ring_order)?;
    let persistent = xenbus::read_flag(store, &format!("{front}/{}", keys::FEATURE_PERSISTENT))?;
    let one_page = store.read_if_present(&format!("{front}/{}", keys::RING_PAGE_ORDER))?.is_none();
    let mut rings = Vec::new();
    for n in 0..count {
        let dir = if count == 1 { front.to_owned() } else { format!("{front}/{}", keys::queue(n)) };
        let names = match one_page {
            true => vec![keys::RING_REF.to_owned()],
            false => (0..1_usize << order).map(keys::ring_ref).collect(),
        };
        let grefs: Result<Vec<Gref>, StoreError> = names
            .iter()
            .map(|name| xenbus::read_u32(store, &format!("{dir}/{name}")).map(Gref))
            .collect();
        let grefs = grefs?;
        let port = xenbus::read_u32(store, &format!("{dir}/{}", keys::EVENT_CHANNEL))?;
        rings.push(RingKeys { number: n, grefs, port: Port(port) });
    }
    Ok(Asked { rings, persistent })
}

/// Maps one ring, binds its port, opens the disk for it, which is as `disk` says.
#[traced]
pub(super) fn queue<D: Domain>(
    domain: &D,
    vbd: VbdId,
    ring: &RingKeys,
    asked: &Asked,
    disk: &Geometry,
    config: &Config,
    live: &Arc<Live>,
) -> Result<Queue<D>, ConnectError> {
    let mut foreign = domain.foreign(vbd.front, GrantMode::Copy)?;
    let pages = foreign.map_ring(&ring.grefs).map_err(|status| {
        let grefs: Vec<String> = ring.grefs.iter().map(ToString::to_string).collect();
        ConnectError::Grant { key: keys::RING_REF, grefs: grefs.join(" "), status }
    })?;
    let mut attached = attach(foreign.region(&pages).clone())
        .map_err(|why| ConnectError::Ring { key: keys::RING_REF, why })?;
    // Those that no guest agreed to are not kept.
    let grant = match config.grant {
        GrantMode::Persistent if !asked.persistent => GrantMode::Map,
        mode => mode,
    };
    let queues = asked.rings.len().max(1);
    let limit = config.per_page.max(1) * u32::try_from(ring.grefs.len()).unwrap_or(1);
    let rules = rules(disk, config);
    let disk = config.disk.queue(limit).map_err(|why| ConnectError::Own(format!("disk: {why}")))?;
    let mut port = domain.bind_interdomain(vbd.front, ring.port)?;
    let name = queue_name(vbd.front, vbd.handle, ring.number);
    attached.set_name(&name, Answered::ById);
    port.set_name(&name);
    Ok(Queue::new(Parts {
        vbd,
        ring: attached,
        pages,
        access: Access::new(foreign, grant, MAX_PERSISTENT / queues),
        disk,
        port,
        rules,
        limit,
        memory: MEMORY / queues,
        batch: config.batch,
        always_notify: config.always_notify,
        live: Arc::clone(live),
    }))
}

/// What every request has to keep to.
fn rules(disk: &Geometry, config: &Config) -> Rules {
    let discard = disk.discard.map(|bytes| u64::from(bytes) / SECTOR_SIZE as u64);
    Rules {
        sectors: disk.sectors,
        sector_size: disk.sector_size,
        read_only: disk.read_only,
        max_indirect: config.max_indirect,
        // A disk that turns out not to flush says so then, and what was offered is taken back.
        flush: true,
        barrier: true,
        discard,
        secure: disk.secure,
        units: config.dialect.units(disk.sector_size),
    }
}

/// The `sectors` node.
pub(super) fn sectors(config: &Config) -> String {
    let disk = config.disk.geometry();
    config.dialect.units(disk.sector_size).node_of(disk.sectors).to_string()
}

/// Features and geometry, in the order in which Linux' blkback writes them.
pub(super) fn description(disk: &Geometry, config: &Config) -> Vec<(&'static str, String)> {
    let flag = |on: bool| if on { "1" } else { "0" }.to_owned();
    let mut all = vec![(keys::FEATURE_FLUSH_CACHE, flag(true))];
    if let Some(bytes) = disk.discard {
        all.extend([
            (keys::DISCARD_GRANULARITY, bytes.to_string()),
            (keys::DISCARD_ALIGNMENT, "0".to_owned()),
            (keys::DISCARD_SECURE, flag(disk.secure)),
        ]);
    }
    let info = if disk.read_only { VdiskInfo::READONLY } else { VdiskInfo::empty() };
    all.extend([
        (keys::FEATURE_DISCARD, flag(disk.discard.is_some())),
        (keys::FEATURE_BARRIER, flag(true)),
        (keys::FEATURE_PERSISTENT, flag(config.grant == GrantMode::Persistent)),
        (keys::SECTORS, sectors(config)),
        (keys::INFO, info.bits().to_string()),
        (keys::SECTOR_SIZE, disk.sector_size.to_string()),
        (keys::PHYSICAL_SECTOR_SIZE, disk.physical_sector_size.to_string()),
    ]);
    all
}
