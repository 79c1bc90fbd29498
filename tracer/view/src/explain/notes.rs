//! What is to be known beside the phases: notifications, and all that is missing of a trace or wrong with it.

use tracer::keeper::REFUSED;

use super::phases::Bells;
use crate::report::numbers::{duration, thousands};
use crate::timeline::Defects;
use crate::view::View;

/// A line for each.
pub(super) fn notes(view: &View<'_>, bells: Bells, requests: u64, defects: Defects) -> Vec<String> {
    let mut notes = vec![format!(
        "{} doorbells rung ({:.3} a request), {} sends merged; {} of {} pushes had nobody to wake",
        thousands(bells.rung),
        bells.rung as f64 / (requests as f64).max(1.0),
        thousands(bells.merged),
        thousands(bells.suppressed),
        thousands(bells.pushes),
    )];
    if bells.fulls > 0 {
        let (fulls, full) = (thousands(bells.fulls), duration(bells.full));
        notes.push(format!("frontends found a ring full {fulls} times, for {full} in all"));
    }
    notes.extend(missing(view));
    notes.extend(wrong(defects));
    if !view.clock.steady {
        notes.push("this machine's clock does not run at one rate: mistrust all times".to_owned());
    }
    notes
}

/// What was not recorded, or not kept.
fn missing(view: &View<'_>) -> Vec<String> {
    let threads = |of: fn(&crate::view::Thread<'_>) -> u64| {
        view.threads.iter().map(of).fold(0, u64::saturating_add)
    };
    let refused = view.said(REFUSED).and_then(|count| count.parse().ok()).unwrap_or(0);
    let unnamed = view.processes.iter().map(|process| process.unnamed);
    let all = [
        (threads(|thread| thread.lost), "events are missing at the end: buffers were full"),
        (threads(|thread| thread.overwritten), "events are missing at the beginning: overwritten"),
        (
            threads(|thread| thread.busy),
            "events are missing that came in the middle of another, in signal handlers",
        ),
        (refused, "threads are missing: their processes had more than are kept"),
        (unnamed.fold(0, u64::saturating_add), "names and words are missing: journals were full"),
    ];
    let some = all.into_iter().filter(|(count, _)| *count > 0);
    let told = some.map(|(count, what)| format!("{} {what}", thousands(count)));
    told.chain(view.cut_off.map(|cut| format!("the file was {cut}"))).collect()
}

/// What cannot be as it was recorded.
fn wrong(defects: Defects) -> Vec<String> {
    let mut notes = Vec::new();
    if defects.backwards.slots > 0 {
        notes.push(format!(
            "{} slots were seen before they were pushed, by up to {}: the clocks differ, mistrust times between \
             processes",
            thousands(defects.backwards.slots),
            duration(defects.backwards.furthest_ns)
        ));
    }
    if defects.unsent > 0 {
        let unsent = thousands(defects.unsent);
        notes.push(format!("{unsent} slots were seen whose push is not in the trace"));
    }
    if defects.orphans + defects.unknown > 0 {
        let odd = thousands(defects.orphans + defects.unknown);
        notes.push(format!("{odd} records could not be understood"));
    }
    notes
}
