//! How a report gets from the domain that measured to the one that prints.
//!
//! The backend leaves its end of a vif's report in the store, in the vif's backend directory, before
//! it answers the frontend's Closing; the frontend reads it there. Between a domain's process and
//! the one that started it, the report is a line of JSON on stdout.

use rings::io::xs_wire::XsdError;
use rings::store::{Nodes, StoreError};
use serde::{Deserialize, Serialize};

use crate::workload::SideReport;

/// Key of the report in a vif's backend directory.
const REPORT: &str = "pvlab-report";
/// Key of the workload's description in a guest's own `data` directory.
pub(super) const WORKLOAD: &str = "data/pvlab-workload";

/// What was negotiated, as far as a report shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Blank checksums are sent to the backend.
    pub csum_tx: bool,
    /// Blank checksums are taken from it.
    pub csum_rx: bool,
    /// Segmentation is left to the other side.
    pub gso: bool,
    /// Frames may have several slots.
    pub sg: bool,
    /// Pairs of rings.
    pub queues: u32,
    /// Largest IP packet.
    pub mtu: usize,
}

/// What a frontend's process reports: both ends of its device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FrontReport<O = Outcome> {
    /// Its number.
    pub domid: u16,
    /// Its own end.
    pub front: SideReport,
    /// The backend's end, as the backend reported it.
    pub back: Option<SideReport>,
    /// What was negotiated.
    pub outcome: O,
    /// Why the run is not good, if it is not.
    pub failure: Option<String>,
}

/// Leaves the backend's report where the frontend finds it.
pub(super) fn leave(
    store: &mut impl Nodes,
    back_dir: &str,
    report: &SideReport,
) -> Result<(), StoreError> {
    let mut report = report.clone();
    // Times are measured at the client; a node has 4 KiB.
    report.latencies = None;
    let text = serde_json::to_string(&report).unwrap_or_default();
    store.write(&format!("{back_dir}/{REPORT}"), text)
}

/// Reads what the backend left.
pub(super) fn fetch(
    store: &mut impl Nodes,
    back_dir: &str,
) -> Result<Option<SideReport>, StoreError> {
    let text = match store.read_if_present(&format!("{back_dir}/{REPORT}")) {
        // A backend that is gone has taken its directory along.
        Err(error) if error.xsd_error() == Some(XsdError::EACCES) => None,
        other => other?,
    };
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}
