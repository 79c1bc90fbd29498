//! What a run is to do, resolved and checked: plain data that travels to the domains and into the results. How it is
//! typed and refused is `cli`'s business; nothing here does any work.

/// What stands in JSON as its text on the command line: `#[serde(into = "String", try_from = "String")]`.
macro_rules! as_text {
    ($($kind:ty),+) => { $(
        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $kind {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    )+ };
}

mod args;
mod blk;
mod blk_args;
mod console;
mod cpus;
mod disk;
mod net;
mod rate;
mod run;
mod storage;
mod trace;

pub use args::shell_line;
pub use blk::{BlkConfig, Rw, Split};
pub use console::{
    AttachConfig, ConsoleConfig, ConsoledConfig, DaemonConfig, EventRate, GuestConfig, OnFull,
    Overflow, Pictures, SinkKind,
};
pub use cpus::{allowed_cpus, default_cpus, format_cpus, parse_cpus};
pub use disk::{BlkbackConfig, DialectName, DiskConfig, DiskText};
pub(crate) use net::{DATAGRAMS, READY};
pub use net::{
    Mode, NetConfig, NetPath, NetbackConfig, RxTimers, WireKind, default_vifs, default_wire,
};
pub use rate::Rate;
pub use run::{
    Amount, CostNs, DeviceKind, GrantMode, HostConfig, NotifyPolicy, RunConfig, WaitPolicy,
};
pub use storage::interrupted_cpu;
pub use trace::{TraceMode, TraceTo};

/// The word an enum's variant goes by on the command line and in JSON.
pub(crate) fn word<T: clap::ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}
