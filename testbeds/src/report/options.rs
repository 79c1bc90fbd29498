//! The effective configuration in the words of the command line: every option, also those that are defaults.

use crate::config::{Amount, NetConfig, RunConfig, format_cpus, word};
use crate::results::Config;
use crate::units::format_size;

/// An option's name without dashes, and its value.
pub(super) type Setting = (&'static str, String);

/// Every option that says how the run was made; those that only say where output goes are left out.
pub(super) fn settings(config: &Config) -> Vec<Setting> {
    let mut all = match config {
        Config::Net(record) => {
            let mut all = traffic(&record.net);
            all.extend(device(&record.net));
            all
        }
        Config::Blk(record) => super::blk::settings(&record.blk),
    };
    all.extend(mechanisms(config.run()));
    all
}

/// `-t` or `-n`.
pub(super) fn amount(run: &RunConfig) -> Setting {
    match run.amount {
        Amount::Seconds(seconds) => ("t", format!("{seconds}s")),
        Amount::Count(count) => ("n", format_size(count)),
    }
}

fn traffic(config: &NetConfig) -> Vec<Setting> {
    let (limit, amount) = amount(&config.run);
    let mut all = vec![
        ("mode", word(&config.mode)),
        ("R", on_off(config.reverse)),
        (limit, amount),
        ("warmup", format!("{}s", config.run.warmup)),
        ("P", config.parallel.to_string()),
        ("l", size(config.len)),
        ("r", format!("{},{}", size(config.rr_req), size(config.rr_resp))),
        ("window", size(config.window)),
    ];
    for (name, path) in [("file", &config.file), ("out", &config.out)] {
        all.extend(path.as_ref().map(|path| (name, path.display().to_string())));
    }
    all
}

fn device(config: &NetConfig) -> Vec<Setting> {
    let gso = if config.gso == 0 { "off".to_owned() } else { format_size(config.gso.into()) };
    vec![
        ("csum", config.csum_word().to_owned()),
        ("gso", gso),
        ("sg", on_off(config.sg)),
        ("mtu", config.mtu.to_string()),
        ("ip", config.ip.to_string()),
        ("queues", config.queues.to_string()),
        ("vifs", config.vifs.to_string()),
        ("rate", config.rate.map_or("off".to_owned(), |rate| rate.to_string())),
        ("drop", config.drop.to_string()),
        ("copies", config.copies.to_string()),
        ("path", word(&config.path)),
        ("wire", word(&config.wire)),
        ("rx-drain-timeout", format!("{}s", config.timers.rx_drain_timeout)),
        ("rx-stall-timeout", format!("{}s", config.timers.rx_stall_timeout)),
    ]
}

fn mechanisms(run: &RunConfig) -> Vec<Setting> {
    let charged = run.cost.to_string();
    vec![
        ("batch", run.batch.to_string()),
        ("wait", word(&run.wait)),
        ("spin", format!("{}us", run.spin_us)),
        ("notify", word(&run.notify)),
        ("grant", word(&run.grant)),
        ("verify", on_off(run.verify)),
        ("cost", if charged.is_empty() { "0".to_owned() } else { charged }),
        ("think", crate::units::format_ns(run.think_ns)),
        ("index-base", format!("{:#x}", run.index_base)),
        ("seed", run.seed.to_string()),
        ("A", format!("{},{}", format_cpus(&run.front_cpus), format_cpus(&run.back_cpus))),
        ("nice", format!("{},{}", run.nice_front, run.nice_back)),
        ("stall-timeout", format!("{}s", run.stall_timeout)),
    ]
}

/// What the simulated hypervisor charged, as a sentence: every report says it.
pub(super) fn cost_sentence(run: &RunConfig) -> String {
    let charged = run.cost.to_string();
    if charged.is_empty() {
        "no hypervisor cost charged (--cost is all zero)".to_owned()
    } else {
        format!("hypervisor cost charged, ns: {charged}")
    }
}

pub(super) fn size(bytes: usize) -> String {
    format_size(bytes as u64)
}

pub(super) fn on_off(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}
