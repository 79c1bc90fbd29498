//! When recording was switched off in between.

use tracer::keeper::PAUSED;

use super::View;

impl View<'_> {
    /// What is said of them with the run. Of a damaged file those that cannot be are left out.
    pub(super) fn paused(&self) -> Vec<(i64, i64)> {
        let ticks = |text: &str| text.parse().ok().map(|ticks| self.time(ticks));
        let said = self.said(PAUSED).unwrap_or_default().split(' ');
        let pauses = said.filter_map(|pause| pause.split_once('-'));
        let pauses = pauses.filter_map(|(off, on)| Some((ticks(off)?, ticks(on)?)));
        let mut all: Vec<(i64, i64)> = Vec::new();
        for (off, on) in pauses {
            if off <= on && all.last().is_none_or(|last| last.1 <= off) {
                all.push((off, on));
            }
        }
        all
    }

    /// Whether recording was off at some time between these two.
    pub(crate) fn pauses_between(&self, from: i64, to: i64) -> bool {
        let next = self.pauses.partition_point(|&(_, on)| on <= from);
        self.pauses.get(next).is_some_and(|&(off, _)| off < to)
    }
}
