//! A frontend started by hand ends when somebody without whom it gets nowhere has stalled.
//!
//! In a run of one command the host's process looks at all domains and ends them. By hand nobody does: a
//! backend that was stopped keeps its connection, its ports and its state in the store, and the frontend
//! would wait for ever.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rings::DomId;
use rings_host::{Block, Segment, Stall};

use super::logging::exit;
use crate::config::RunConfig;

/// Between two looks at most; with a short stall time-out a quarter of it.
const LOOK: Duration = Duration::from_secs(1);

/// As long as this lives, they are looked at.
pub(super) struct Watch(#[expect(dead_code, reason = "kept for its end")] Arc<()>);

/// Whom to look at: a domain, which is called so, or the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    Host,
    Domain(DomId, &'static str),
}

/// Ends this process, with one line that says why, once one of `others` in the lab in `dir` has stood
/// still for the stall time-out. Not in a process that another one of the lab has started: that one looks.
///
/// # Errors
/// If there can be no thread.
pub(super) fn watch(dir: &Path, run: &RunConfig, others: Vec<Other>) -> io::Result<Watch> {
    let alive = Arc::new(());
    // Kept from now on: its name goes with the host. Without a lab there is nobody to look at, and whoever
    // registers there says so.
    if let Ok(segment) = Segment::open(dir)
        && !crate::lab::is_child()
    {
        let wanted = Arc::downgrade(&alive);
        let timeout = run.stall_timeout;
        let mut look = Look { segment, others, stalls: HashMap::new() };
        std::thread::Builder::new().name("stall-watch".into()).spawn(move || {
            if let Some(who) = look.until_stalled(&wanted, Duration::from_secs_f64(timeout)) {
                eprintln!(
                    "error: {who} has stalled: no progress for {timeout} s (--stall-timeout)"
                );
                exit(1);
            }
        })?;
    }
    Ok(Watch(alive))
}

struct Look {
    segment: Segment,
    others: Vec<Other>,
    /// By process: a backend that died may be replaced.
    stalls: HashMap<i32, Stall>,
}

impl Look {
    /// Looks until somebody has stalled, and says who; or until nobody wants to know.
    fn until_stalled(&mut self, wanted: &Weak<()>, timeout: Duration) -> Option<String> {
        while wanted.strong_count() > 0 {
            std::thread::sleep(LOOK.min(timeout / 4));
            let now = Instant::now();
            for (pid, who, blocks) in self.processes() {
                if self.stalls.entry(pid).or_default().look(pid, blocks, timeout, now) {
                    return Some(who);
                }
            }
        }
        None
    }

    /// Those that matter, with what to call them and the blocks of their workers.
    fn processes(&self) -> Vec<(i32, String, Vec<Block>)> {
        let mut all: Vec<(i32, String, Vec<Block>)> = Vec::new();
        for other in &self.others {
            let Other::Domain(domid, name) = other else {
                let pid = pid(self.segment.host_pid());
                all.push((pid, format!("the host (process {pid})"), Vec::new()));
                continue;
            };
            for block in self.segment.blocks().filter(|block| block.owner() == Some(*domid)) {
                let pid = pid(block.pid());
                match all.iter_mut().find(|(known, ..)| *known == pid) {
                    Some((.., blocks)) => blocks.push(block),
                    None => {
                        let who = format!("domain {domid} ({name}, process {pid})");
                        all.push((pid, who, vec![block]));
                    }
                }
            }
        }
        all
    }
}

/// A process's number, as the segment has it: 0 is none's.
fn pid(word: u64) -> i32 {
    i32::try_from(word).unwrap_or(0)
}
