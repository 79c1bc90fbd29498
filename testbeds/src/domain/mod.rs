//! The processes of a lab: netfront and netback, each a domain with its workers.
//!
//! | module | what |
//! |---|---|
//! | `worker` | a thread pinned to a CPU that serves jobs and publishes its counters |
//! | `crew` | a domain's workers, and which of them has whose jobs |
//! | `netfront` | a guest: connects its vif, runs its end of the workload, reports |
//! | `netback` | the driver domain: serves every vif that comes, with the wire each asks for |
//! | `blkfront` | a guest with a disk, and what comes after a backend that died |
//! | `blkback` | the driver domain with disks |
//! | `consoled` | the console daemon: serves every console that comes |
//! | `console_guest` | a guest that writes lines to its console, or is a shell on it |
//! | `asked` | what a guest asks netback for, held against the rules |
//! | `wired` | netback's reflector and bridge as jobs |
//! | `reports` | how a report gets from the domain that measured to the one that prints |
//! | `otherend` | ends a frontend started by hand whose other end has stalled |
//! | `log_console` | a guest's log lines over its own console |
//! | `logging` | log lines, and a trace file of the control plane alone |
//! | `notes` | the control plane in the trace of a run |
//! | `process` | what every domain's process does: CPU, priority, signals, the host's death |
//!
//! The workload itself is in `workload`; who starts these processes is in `lab`.

mod asked;
pub mod blkback;
pub mod blkfront;
pub mod console_guest;
pub mod consoled;
mod crew;
mod log_console;
mod logging;
pub mod netback;
pub mod netfront;
mod notes;
mod otherend;
mod process;
mod reports;
mod wired;
mod worker;

pub use blkfront::BlkOutcome;
pub use console_guest::GuestReport;
pub use logging::{Logging, init_logging, log_filter};
pub use process::StopFlag;
pub use reports::{FrontReport, Outcome};
