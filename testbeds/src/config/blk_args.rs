//! The configuration of a run over a disk as the shortest command line that makes it again.

use super::args::{Args, command_line, size};
use super::blk::{BlkConfig, Split};
use super::disk::{BlkbackConfig, DiskConfig};
use super::run::{Amount, RunConfig};
use super::word;
use crate::units::format_size;

impl BlkConfig {
    /// The arguments after `pvlab` that make this configuration on this machine, the shortest way.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let plain = Self::default();
        let mut args = Args(vec!["blk".to_owned()]);
        args.option("--rw", self.rw != plain.rw, || word(&self.rw));
        args.option("--bs", self.bs != plain.bs, || size(self.bs));
        args.option("--iodepth", self.iodepth != plain.iodepth, || self.iodepth.to_string());
        args.option("--numjobs", self.numjobs != self.queues, || self.numjobs.to_string());
        args.option("--rwmixread", self.rwmixread != plain.rwmixread, || {
            self.rwmixread.to_string()
        });
        if let Some(rate) = self.rate_iops {
            args.option("--rate-iops", true, || rate.to_string());
        }
        args.option("--fsync", self.fsync != 0, || self.fsync.to_string());
        amount(&self.run, &mut args);
        self.disk.push(&mut args);
        self.device(&mut args, &plain);
        let mut run = self.run.clone();
        // Where nothing is kept nothing is checked, and that need not be said.
        run.verify |= !self.disk.disk.keeps();
        run.push(&mut args);
        args.option("--verify", self.doubts, || "on".to_owned());
        // Unless it is said, where a file's backend runs is the machine's affair.
        let unsaid = !args.0.iter().any(|arg| arg == "-A");
        args.option("-A", unsaid && self.disk.disk.file().is_some(), || run.affinity());
        args.0
    }

    fn device(&self, args: &mut Args, plain: &Self) {
        args.option("--split", self.split == Split::Serial, || word(&self.split));
        args.option("--segments", self.segments != plain.segments, || self.segments.to_string());
        args.option("--indirect", !self.indirect, || "off".to_owned());
        args.option("--ring-order", self.ring_order != 0, || self.ring_order.to_string());
        args.option("--queues", self.queues != 1, || self.queues.to_string());
        let dialects = (self.dialect, self.disk.dialect_back);
        args.option("--dialect", dialects != Default::default(), || {
            format!("{},{}", word(&dialects.0), word(&dialects.1))
        });
        if let Some(seconds) = self.kill_backend_every {
            args.option("--kill-backend-every", true, || seconds.to_string());
        }
        if let Some(path) = &self.nbd {
            args.option("--nbd", true, || format!("unix:{}", path.display()));
        }
    }

    /// The whole command, to be pasted into a shell.
    #[must_use]
    pub fn command_line(&self) -> String {
        command_line(&self.to_args())
    }
}

impl BlkbackConfig {
    /// The arguments after `pvlab` that start this backend.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let mut args = Args(vec!["blkback".to_owned()]);
        self.disk.push(&mut args);
        let dialects = (super::DialectName::Xen, self.disk.dialect_back);
        args.option("--dialect", dialects != Default::default(), || {
            format!("xen,{}", word(&dialects.1))
        });
        self.run.push(&mut args);
        args.0
    }
}

impl DiskConfig {
    fn push(&self, args: &mut Args) {
        let plain = Self::default();
        let ours = self.disk != plain.disk && !self.disk.is_others();
        args.option("--disk", ours, || self.disk.to_string());
        if let Some(bytes) = self.size.filter(|_| self.size != self.default_size()) {
            args.option("--size", true, || format_size(bytes));
        }
        args.flag("--read-only", self.read_only);
        args.option("--sector-size", self.sector_size != plain.sector_size, || {
            self.sector_size.to_string()
        });
        args.option("--in-flight", self.in_flight != plain.in_flight, || {
            self.in_flight.to_string()
        });
    }
}

fn amount(run: &RunConfig, args: &mut Args) {
    match run.amount {
        Amount::Seconds(seconds) => {
            args.option("-t", run.amount != RunConfig::default().amount, || seconds.to_string());
        }
        Amount::Count(count) => args.option("-n", true, || format_size(count)),
    }
}
