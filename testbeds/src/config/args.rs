//! A configuration as the shortest command line that makes it again: only what differs from the defaults.

use std::path::Path;

use super::net::{Mode, NetConfig, NetbackConfig, RxTimers, default_vifs, default_wire};
use super::run::{Amount, CostNs, RunConfig};
use super::{format_cpus, word};
use crate::units::{format_ns, format_size};

/// A command line under construction.
pub(super) struct Args(pub(super) Vec<String>);

impl Args {
    /// With the command alone.
    pub(super) fn new(command: &str) -> Self {
        Self(vec![command.to_owned()])
    }

    pub(super) fn flag(&mut self, name: &str, given: bool) {
        if given {
            self.0.push(name.to_owned());
        }
    }

    pub(super) fn option(&mut self, name: &str, differs: bool, value: impl FnOnce() -> String) {
        if differs {
            self.0.extend([name.to_owned(), value()]);
        }
    }

    /// How long netback waits for a guest without buffers.
    fn timers(&mut self, timers: &RxTimers) {
        let plain = RxTimers::default();
        let (drain, stall) = (timers.rx_drain_timeout, timers.rx_stall_timeout);
        self.option("--rx-drain-timeout", drain != plain.rx_drain_timeout, || drain.to_string());
        self.option("--rx-stall-timeout", stall != plain.rx_stall_timeout, || stall.to_string());
    }

    /// What a stream is made of and where it goes.
    fn files(&mut self, file: Option<&Path>, out: Option<&Path>) {
        for (name, path) in [("--file", file), ("--out", out)] {
            if let Some(path) = path {
                self.option(name, true, || path.display().to_string());
            }
        }
    }
}

impl NetConfig {
    /// The arguments after `pvlab` that make this configuration on this machine, the shortest way.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let mut args = Args::new("net");
        args.option("--mode", self.mode != Mode::Stream, || word(&self.mode));
        args.flag("-R", self.reverse);
        self.amount(&mut args);
        self.traffic(&mut args);
        self.device(&mut args);
        args.timers(&self.timers);
        self.run.push(&mut args);
        args.0
    }

    /// The whole command, to be pasted into a shell.
    #[must_use]
    pub fn command_line(&self) -> String {
        command_line(&self.to_args())
    }

    /// With a file the default is its length, so the amount is always written.
    fn amount(&self, args: &mut Args) {
        let default = self.file.is_none() && self.run.amount == Self::default_amount();
        match self.run.amount {
            Amount::Seconds(seconds) => args.option("-t", !default, || seconds.to_string()),
            Amount::Count(count) => args.option("-n", true, || format_size(count)),
        }
    }

    fn traffic(&self, args: &mut Args) {
        let plain = Self::of_mode(self.mode);
        args.option("-P", self.parallel != plain.parallel, || self.parallel.to_string());
        args.option("-l", self.len != self.default_len(), || size(self.len));
        let sizes = (self.rr_req, self.rr_resp);
        args.option("-r", sizes != (plain.rr_req, plain.rr_resp), || {
            format!("{},{}", size(sizes.0), size(sizes.1))
        });
        args.option("--window", self.window != plain.window, || size(self.window));
        args.files(self.file.as_deref(), self.out.as_deref());
    }

    fn device(&self, args: &mut Args) {
        let plain = Self::of_mode(self.mode);
        args.option("--csum", !(self.csum_tx && self.csum_rx), || self.csum_word().to_owned());
        args.option("--gso", self.gso != self.default_gso(), || match self.gso {
            0 => "off".to_owned(),
            bytes => format_size(bytes.into()),
        });
        args.option("--sg", !self.sg, || "off".to_owned());
        args.option("--mtu", self.mtu != plain.mtu, || self.mtu.to_string());
        args.option("--ip", self.ip != plain.ip, || self.ip.to_string());
        args.option("--queues", self.queues != plain.queues, || self.queues.to_string());
        args.option("--vifs", self.vifs != default_vifs(self.path), || self.vifs.to_string());
        if let Some(rate) = self.rate {
            args.option("--rate", true, || rate.to_string());
        }
        args.option("--drop", self.drop != plain.drop, || self.drop.to_string());
        args.option("--copies", self.copies != plain.copies, || self.copies.to_string());
        args.option("--path", self.path != plain.path, || word(&self.path));
        let wire = default_wire(self.mode, self.path);
        args.option("--wire", self.wire != wire, || word(&self.wire));
    }

    /// What `--csum` says: `on`, `off`, `tx` or `rx`.
    #[must_use]
    pub fn csum_word(&self) -> &'static str {
        match (self.csum_tx, self.csum_rx) {
            (true, true) => "on",
            (true, false) => "tx",
            (false, true) => "rx",
            (false, false) => "off",
        }
    }
}

impl NetbackConfig {
    /// The arguments after `pvlab` that start this backend.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let mut args = Args::new("netback");
        args.files(self.file.as_deref(), self.out.as_deref());
        args.option("--copies", self.copies > 0, || self.copies.to_string());
        args.timers(&self.timers);
        self.run.push(&mut args);
        args.0
    }
}

impl RunConfig {
    /// The arguments after `pvlab` that start `command` (console-guest) with these options.
    #[must_use]
    pub fn to_args(&self, command: &str) -> Vec<String> {
        let mut args = Args::new(command);
        self.push(&mut args);
        args.0
    }

    /// The CPUs of both sides, as `-A` has them.
    pub(super) fn affinity(&self) -> String {
        format!("{},{}", format_cpus(&self.front_cpus), format_cpus(&self.back_cpus))
    }

    /// Everything but the amount, whose default belongs to the kind of run.
    pub(super) fn push(&self, args: &mut Args) {
        let plain = Self::default();
        if let Some(interval) = self.interval {
            args.option("-i", true, || interval.to_string());
        }
        args.option("--warmup", self.warmup != plain.warmup, || self.warmup.to_string());
        args.option("--seed", self.seed != plain.seed, || self.seed.to_string());
        let cpus = (&self.front_cpus, &self.back_cpus);
        let elsewhere = cpus != (&plain.front_cpus, &plain.back_cpus);
        args.option("-A", elsewhere, || self.affinity());
        let nice = (self.nice_front, self.nice_back);
        args.option("--nice", nice != (0, 0), || format!("{},{}", nice.0, nice.1));
        self.push_mechanisms(args, &plain);
        args.option("--stall-timeout", self.stall_timeout != plain.stall_timeout, || {
            self.stall_timeout.to_string()
        });
        if let Some(dir) = &self.dir {
            args.option("--dir", true, || dir.display().to_string());
        }
        args.flag("--console", self.console);
        args.flag("--quiet", self.quiet);
    }

    fn push_mechanisms(&self, args: &mut Args, plain: &Self) {
        args.option("--wait", self.wait != plain.wait, || word(&self.wait));
        args.option("--spin", self.spin_us != plain.spin_us, || format!("{}us", self.spin_us));
        args.option("--notify", self.notify != plain.notify, || word(&self.notify));
        args.option("--batch", self.batch != plain.batch, || self.batch.to_string());
        args.option("--grant", self.grant != plain.grant, || word(&self.grant));
        args.option("--cost", self.cost != plain.cost, || self.cost.to_string());
        args.option("--verify", !self.verify, || "off".to_owned());
        args.option("--think", self.think_ns != 0, || format_ns(self.think_ns));
        args.option("--index-base", self.index_base != 0, || format!("{:#x}", self.index_base));
    }
}

impl std::fmt::Display for CostNs {
    /// The charges that are not zero, as `--cost` reads them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [
            ("hypercall", self.hypercall),
            ("evtchn", self.evtchn),
            ("gntmap", self.gntmap),
            ("gntcopy", self.gntcopy),
            ("exit", self.exit),
        ];
        let charged = all.iter().filter(|(_, ns)| *ns > 0);
        let words: Vec<_> = charged.map(|(name, ns)| format!("{name}={ns}")).collect();
        f.write_str(&words.join(","))
    }
}

pub(super) fn size(bytes: usize) -> String {
    format_size(bytes as u64)
}

/// Arguments as a command to be pasted into a shell.
pub(super) fn command_line(args: &[String]) -> String {
    let words: Vec<_> = args.iter().map(|arg| quoted(arg)).collect();
    format!("pvlab {}", words.join(" "))
}

/// The same for `command`, where the arguments are those of another one that takes the same.
#[must_use]
pub fn shell_line(command: &str, args: &[String]) -> String {
    let mut args = args.to_vec();
    if let Some(first) = args.first_mut() {
        command.clone_into(first);
    }
    command_line(&args)
}

/// A word for a POSIX shell, quoted only where it has to be.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        assert_eq!(NetConfig::default().command_line(), "pvlab net");
        let mut config = NetConfig::default();
        config.run.amount = Amount::Count(128 << 20);
        assert_eq!(config.command_line(), "pvlab net -n 128M");
        let mut config = NetConfig::of_mode(Mode::Pktgen);
        config.run.batch = 1;
        config.run.dir = Some("it's here".into());
        let line = r"pvlab net --mode pktgen --batch 1 --dir 'it'\''s here'";
        assert_eq!(config.command_line(), line);
    }

    #[test]
    fn json_is_flat_and_comes_back() {
        let config = NetConfig::of_mode(Mode::Maerts);
        let json = serde_json::to_value(&config).expect("plain data");
        assert_eq!(json["mode"], "stream");
        assert_eq!(json["batch"], 32);
        assert_eq!(json["amount"]["seconds"], 5.0);
        assert_eq!(serde_json::from_value::<NetConfig>(json).expect("own output"), config);
    }
}
