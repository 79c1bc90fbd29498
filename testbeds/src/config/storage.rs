//! Which CPU a file's storage interrupts, as Linux tells it: whoever waits for the storage is woken sooner
//! there, and the other end of the ring is not kept from its work.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

/// Between a block device and the one that interrupts, at most.
const LEVELS: usize = 6;
/// A CPU that takes such a part of the interrupts takes them all, but for what was before it did.
const NEARLY_ALL: f64 = 0.9;

/// The one CPU that the storage of this file or block device interrupts; `None` where it is not one, or
/// nobody knows.
#[must_use]
pub fn interrupted_cpu(path: &Path) -> Option<usize> {
    let found = fs::metadata(path).ok()?;
    let device = if found.file_type().is_block_device() { found.rdev() } else { found.dev() };
    let irqs = irqs(&format!("/sys/dev/block/{}:{}", major(device), minor(device)))?;
    busiest(&fs::read_to_string("/proc/interrupts").ok()?, &irqs)
}

/// The interrupts of a block device, or of the next thing it belongs to that has any.
fn irqs(block: &str) -> Option<Vec<String>> {
    let mut dir: PathBuf = fs::canonicalize(block).ok()?;
    for _ in 0..LEVELS {
        if let Ok(all) = fs::read_dir(dir.join("msi_irqs")) {
            let name =
                |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
            return Some(all.filter_map(name).collect());
        }
        dir = dir.parent()?.to_owned();
    }
    None
}

/// The CPU that has had nearly all of these interrupts, in the text of `/proc/interrupts`.
fn busiest(text: &str, irqs: &[String]) -> Option<usize> {
    let mut lines = text.lines();
    let cpu = |word: &str| word.strip_prefix("CPU")?.parse::<usize>().ok();
    let cpus: Vec<usize> = lines.next()?.split_whitespace().filter_map(cpu).collect();
    let mut counts = vec![0_u64; cpus.len()];
    for line in lines {
        let Some((irq, rest)) = line.split_once(':') else { continue };
        if irqs.iter().any(|own| own == irq.trim()) {
            let numbers = rest.split_whitespace().map_while(|word| word.parse::<u64>().ok());
            counts.iter_mut().zip(numbers).for_each(|(sum, n)| *sum += n);
        }
    }
    let all: u64 = counts.iter().sum();
    let (at, &most) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    (all > 0 && crate::units::float(most) >= NEARLY_ALL * crate::units::float(all))
        .then(|| cpus[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_that_has_nearly_all_interrupts_is_found() {
        let text = "           CPU0       CPU2\n\
                    35:          0          1 PCI-MSIX-0000:00:02.0   0-edge      virtio1-config\n\
                    36:         12       2905 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0\n\
                    37:       9000          0 PCI-MSIX-0000:00:03.0   0-edge      virtio2-input\n\
                    38:       5000       5000 PCI-MSIX-0000:00:04.0   0-edge      nvme\n\
                    NMI:          0          0   Non-maskable interrupts\n";
        let of = |irqs: &[&str]| {
            let irqs: Vec<String> = irqs.iter().map(|irq| (*irq).to_owned()).collect();
            busiest(text, &irqs)
        };
        assert_eq!(of(&["35", "36"]), Some(2));
        assert_eq!(of(&["37"]), Some(0));
        assert_eq!(of(&["38"]), None, "two share them");
        assert_eq!(of(&["35"]), Some(2));
        assert_eq!((of(&[]), of(&["99"])), (None, None));
        assert_eq!(busiest("", &["35".into()]), None);
    }

    #[test]
    fn what_is_in_memory_interrupts_nobody() {
        assert_eq!(interrupted_cpu(Path::new("/proc/self/stat")), None);
        assert_eq!(interrupted_cpu(Path::new("/no/such/file")), None);
    }
}
