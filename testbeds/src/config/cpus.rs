//! CPUs as options name them: `N`, `N-M`, or several of those as in `0-2+5`, and which of them this process may
//! use. Pinning a thread is done elsewhere.

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

/// Reads one side of `-A`: `3`, `0-3`, or several of those as in `0+2-3`, in that order. The comma is what stands
/// between the sides.
///
/// # Errors
/// The reason and the remedy.
pub fn parse_cpus(text: &str) -> Result<Vec<usize>, String> {
    let number = |digits: &str| digits.parse::<usize>().ok().filter(|n| *n < CpuSet::count());
    let mut cpus = Vec::new();
    for part in text.split('+') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => cpus.extend(first..=last),
            _ => {
                let why = "is neither a CPU nor a range; use FRONT,BACK as in 1,0 or 0-1,2+5";
                return Err(format!("'{part}' {why}"));
            }
        }
    }
    Ok(cpus)
}

/// Writes CPUs so that [`parse_cpus`] reads them, in their order: `1+0`, `0-3+8`.
#[must_use]
pub fn format_cpus(cpus: &[usize]) -> String {
    let run = |run: &[usize]| match run {
        [first, .., last] => format!("{first}-{last}"),
        one => one.iter().map(usize::to_string).collect(),
    };
    cpus.chunk_by(|a, b| a + 1 == *b).map(run).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_cpu_or_a_range() {
        assert_eq!(parse_cpus("3"), Ok(vec![3]));
        assert_eq!(parse_cpus("0-2"), Ok(vec![0, 1, 2]));
        for bad in ["", "-", "2-1", "a", "1-", "-1", "0-99999999999", "1,2"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn several_in_any_order() {
        assert_eq!(parse_cpus("8+0-2+1"), Ok(vec![8, 0, 1, 2, 1]));
        assert_eq!(format_cpus(&[0, 1, 2, 5, 7, 8]), "0-2+5+7-8");
        assert_eq!(format_cpus(&[1, 0]), "1+0");
        for bad in ["+", "0+", "+0", "0++1", "0+2-1"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(cpus in prop::collection::vec(0..CpuSet::count(), 1..20)) {
            prop_assert_eq!(parse_cpus(&format_cpus(&cpus)), Ok(cpus));
        }

        #[test]
        fn neighbours_are_written_and_read_too(cpus in prop::collection::vec(0..3usize, 1..9)) {
            prop_assert_eq!(parse_cpus(&format_cpus(&cpus)), Ok(cpus));
        }
    }

    #[test]
    fn the_defaults_may_be_used() {
        let (front, back) = default_cpus();
        let allowed = allowed_cpus();
        assert!(allowed.contains(&front[0]) && allowed.contains(&back[0]));
    }
}
