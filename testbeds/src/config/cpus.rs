//! CPUs as options name them: `N` or `N-M`, and which of them this process may use. Pinning a thread is done
//! elsewhere.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// The CPUs this process may run on, in ascending order; CPU 0 alone if the kernel does not say.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    let cpus: Vec<_> = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Front and back CPUs where none are named: netback on the first allowed CPU and netfront on the second, or both on
/// the only one.
#[must_use]
pub fn default_cpus() -> (Vec<usize>, Vec<usize>) {
    let allowed = allowed_cpus();
    let back = allowed[0];
    let front = allowed.get(1).copied().unwrap_or(back);
    (vec![front], vec![back])
}

/// Reads one side of `-A`: `3` or `0-3`.
///
/// # Errors
/// The reason and the remedy.
pub fn parse_cpus(text: &str) -> Result<Vec<usize>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |digits: &str| digits.parse::<usize>().ok().filter(|n| *n < CpuSet::count());
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first..=last).collect()),
        _ => Err(format!(
            "'{text}' is neither a CPU nor a range; use FRONT,BACK as in 1,0 or 0-1,2-3"
        )),
    }
}

/// Writes CPUs so that [`parse_cpus`] reads them (they are one range, as it only makes ranges).
#[must_use]
pub fn format_cpus(cpus: &[usize]) -> String {
    match cpus {
        [] => String::new(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cpu_or_a_range() {
        assert_eq!(parse_cpus("3"), Ok(vec![3]));
        assert_eq!(parse_cpus("0-2"), Ok(vec![0, 1, 2]));
        for bad in ["", "-", "2-1", "a", "1-", "-1", "0-99999999999", "1,2"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
        assert_eq!(format_cpus(&[0, 1, 2]), "0-2");
    }

    #[test]
    fn the_defaults_may_be_used() {
        let (front, back) = default_cpus();
        let allowed = allowed_cpus();
        assert!(allowed.contains(&front[0]) && allowed.contains(&back[0]));
    }
}
