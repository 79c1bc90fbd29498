//! The machine a run was made on.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::config::allowed_cpus;

/// Percent of the last ten seconds in which some task waited for a CPU, from which on figures suffer.
const PRESSED: f64 = 10.0;

/// The machine a run was made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Model of the CPU.
    pub cpu: String,
    /// CPUs this process may use.
    pub cpus: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Something else wanted the CPUs when the run began: the figures are suspect.
    pub oversubscribed: bool,
}

/// Looks at the machine. To be called before a run: afterwards the load is its own.
#[must_use]
pub fn host_info() -> Host {
    let cpus = allowed_cpus().len();
    Host {
        cpu: read("/proc/cpuinfo").as_deref().and_then(cpu_model).unwrap_or("unknown").to_owned(),
        cpus,
        kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        oversubscribed: oversubscribed(cpus),
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// By the time tasks waited for a CPU, where the kernel tells it; else by how many wanted one.
fn oversubscribed(cpus: usize) -> bool {
    if let Some(waited) = read("/proc/pressure/cpu").as_deref().and_then(pressure) {
        return waited > PRESSED;
    }
    let wanted = read("/proc/loadavg").as_deref().and_then(running);
    wanted.is_some_and(|wanted| wanted > cpus)
}

/// `some avg10=1.23 avg60=...`
fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find(|line| line.starts_with("some"))?;
    some.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

/// Tasks that run or would: the part before the slash in `0.10 0.20 0.30 2/345 6789`.
fn running(text: &str) -> Option<usize> {
    text.split_whitespace().nth(3)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel name\t: x";
        assert_eq!(cpu_model(cpuinfo), Some("AMD EPYC 7B13"));
        assert_eq!(cpu_model(""), None);
        assert_eq!(pressure("some avg10=12.50 avg60=1.00 total=5\nfull avg10=0.00"), Some(12.5));
        assert_eq!(pressure("nothing"), None);
        assert_eq!(running("0.10 0.20 0.30 2/345 6789"), Some(2));
    }

    #[test]
    fn this_machine_has_a_cpu_and_a_kernel() {
        let host = host_info();
        assert!(host.cpus > 0 && !host.kernel.is_empty() && !host.cpu.is_empty());
    }
}
