//! How often a domain may write, and who makes room for whose transactions (XSA-206).
//!
//! By nothing but writing a guest could keep the store busy, and by changing what others look at it
//! could make each of their transactions fail. So a write costs a domain credit, and a domain in
//! debt is not served until it is out of it: slowed, not refused. The numbers and the common
//! reserve are those of C xenstored, with two differences: the reserve is full at the start, when
//! all guests of a lab connect at once, and a commit costs as much as one
//! write, however many it has, and whether or not others have transactions open. C xenstored stops there, and a transaction that stays open for longer than a write takes
//! to be earned would fail for ever. So whoever made another's transaction fail twice in a row is
//! held for a while, longer each time, as oxenstored does it with its conflict credit.
//!
//! Time is an argument. What counts as a write is in `request`, who spoiled what in `transaction`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rings::DomId;
use rings::weaken::{Check, skipped};

use super::perms::is_privileged;

/// Credit is kept in billionths of a write: a clock of nanoseconds leaves no remainders behind.
const WRITE: i64 = 1_000_000_000;
/// Writes a second that all domains together earn.
const RATE: i64 = 200;
/// What one domain may have saved up.
const BURST: i64 = 10 * WRITE;
/// What lies ready for all domains at first, and at most.
const RESERVE: i64 = 1000 * WRITE;
/// How far the reserve may be overdrawn for domains that are new.
const NEWCOMERS: i64 = 5 * BURST;

/// How long a domain is held that made a transaction fail for the second time in a row. Twice as
/// long for the third time, and so on.
const FIRST_HOLD: Duration = Duration::from_millis(10);
/// The longest that it is held for.
const LONGEST_HOLD: Duration = Duration::from_secs(1);

/// The credit of all domains but domain 0, which has no limit.
#[derive(Debug)]
pub(super) struct Rates {
    /// Of every domain that has written.
    buckets: BTreeMap<DomId, Bucket>,
    reserve: i64,
}

#[derive(Debug)]
struct Bucket {
    credit: i64,
    /// When `credit` was that.
    at: Instant,
    /// Until then it makes room for the transactions of others.
    yields: Option<Instant>,
    /// It is not to be served.
    held: bool,
    /// It was said once that it is held.
    said: bool,
}

impl Rates {
    pub(super) fn new() -> Self {
        Self { buckets: BTreeMap::new(), reserve: RESERVE }
    }

    /// Whether the domain has to wait. Changes with the calls that take the time.
    pub(super) fn holds(&self, domid: DomId) -> bool {
        self.buckets.get(&domid).is_some_and(|bucket| bucket.held)
    }

    /// The domain wrote.
    pub(super) fn charge(&mut self, domid: DomId, now: Instant) {
        if is_privileged(domid) || skipped(Check::WriteRate) {
            return;
        }
        self.bucket(domid, now).credit -= WRITE;
        self.settle(domid, now);
    }

    /// The domain made a transaction of another fail, and it was not the first of the `in_a_row`
    /// that failed.
    pub(super) fn make_room(&mut self, domid: DomId, in_a_row: u32, now: Instant) {
        let again = in_a_row.saturating_sub(2);
        if is_privileged(domid) || in_a_row < 2 || skipped(Check::Conflict) {
            return;
        }
        let hold = FIRST_HOLD.saturating_mul(1 << again.min(16)).min(LONGEST_HOLD);
        let bucket = self.bucket(domid, now);
        bucket.yields = bucket.yields.max(Some(now + hold));
        self.settle(domid, now);
    }

    /// Time has passed: the domains that need not wait any more.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<DomId> {
        let held = self.buckets.iter().filter(|(_, bucket)| bucket.held);
        let mut free: Vec<_> = held.map(|(&domid, _)| domid).collect();
        free.retain(|&domid| {
            self.settle(domid, now);
            !self.holds(domid)
        });
        free
    }

    /// When the next of them will have waited long enough, if nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let share = self.share();
        let held = self.buckets.values().filter(|bucket| bucket.held);
        held.map(|bucket| bucket.free_at(share)).min()
    }

    /// The domain is gone. What it had saved is for all.
    pub(super) fn forget(&mut self, domid: DomId) {
        if let Some(bucket) = self.buckets.remove(&domid) {
            self.reserve = (self.reserve + bucket.credit.max(0)).min(RESERVE);
        }
    }

    fn bucket(&mut self, domid: DomId, now: Instant) -> &mut Bucket {
        let reserve = &mut self.reserve;
        self.buckets.entry(domid).or_insert_with(|| {
            let credit = (*reserve + NEWCOMERS).clamp(0, BURST);
            *reserve -= credit;
            Bucket { credit, at: now, yields: None, held: false, said: false }
        })
    }

    /// Among how many domains the rate is shared.
    fn share(&self) -> i64 {
        i64::try_from(self.buckets.len().max(1)).unwrap_or(i64::MAX)
    }

    /// Adds what the domain has earned, evens it out with the reserve, and decides whether it waits.
    fn settle(&mut self, domid: DomId, now: Instant) {
        let (share, reserve) = (self.share(), &mut self.reserve);
        let Some(bucket) = self.buckets.get_mut(&domid) else { return };
        let passed = now.saturating_duration_since(bucket.at).as_nanos();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        bucket.credit = bucket.credit.saturating_add(passed.saturating_mul(RATE) / share);
        bucket.at = bucket.at.max(now);

        let lent = (-bucket.credit).clamp(0, (*reserve).max(0));
        let spare = (bucket.credit - BURST).max(0);
        bucket.credit += lent - spare;
        *reserve = (*reserve - lent).saturating_add(spare).min(RESERVE);

        bucket.yields = bucket.yields.filter(|&until| until > now);
        bucket.held = bucket.credit < 0 || bucket.yields.is_some();
        if bucket.held && !bucket.said {
            bucket.said = true;
            tracing::warn!(%domid, "a domain writes into the store without pause: it is slowed");
        }
    }
}

impl Bucket {
    /// When it is out of debt and need not make room any more.
    fn free_at(&self, share: i64) -> Instant {
        let debt = self.credit.min(0).saturating_neg();
        let wait = u64::try_from(debt.saturating_mul(share) / RATE).unwrap_or(0);
        // What is left over of the division is a nanosecond's work.
        let out_of_debt = self.at + Duration::from_nanos(if debt > 0 { wait + 1 } else { 0 });
        self.yields.map_or(out_of_debt, |until| out_of_debt.max(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: DomId = DomId(1);
    const SECOND: Duration = Duration::from_secs(1);

    /// Writes of `domid` until it is held.
    fn writes(rates: &mut Rates, domid: DomId, now: Instant) -> u32 {
        let mut count = 0;
        while !rates.holds(domid) {
            rates.charge(domid, now);
            count += 1;
            assert!(count < 1_000_000, "without end");
        }
        count
    }

    #[test]
    fn a_burst_and_the_reserve_then_its_share() {
        let (mut rates, start) = (Rates::new(), Instant::now());
        assert_eq!(writes(&mut rates, GUEST, start), 1001, "the last one on credit");
        assert_eq!(rates.due(), Some(start + Duration::from_nanos(5_000_001)));
        assert_eq!(rates.tick(start + SECOND / 400), [], "half of a write is not enough");
        // A flood of an hour, woken whenever it may go on.
        let mut count = 0;
        while rates.due().unwrap() < start + 3600 * SECOND {
            let due = rates.due().unwrap();
            assert_eq!(rates.tick(due), [GUEST]);
            count += writes(&mut rates, GUEST, due);
        }
        assert!((719_990..=720_000).contains(&count), "{count} in an hour");
    }

    #[test]
    fn the_rate_is_shared_and_a_newcomer_gets_its_burst() {
        let (mut rates, start) = (Rates::new(), Instant::now());
        writes(&mut rates, GUEST, start);
        for guest in 2..=6 {
            assert_eq!(writes(&mut rates, DomId(guest), start), 11);
        }
        assert_eq!(writes(&mut rates, DomId(7), start), 1, "that was the last of the reserve");
        let count: u32 = (0..70_u32)
            .map(|n| {
                let now = start + SECOND * n / 7;
                rates.tick(now).into_iter().map(|d| writes(&mut rates, d, now)).sum::<u32>()
            })
            .sum();
        assert!((1900..=2000).contains(&count), "{count} of all in ten seconds");
    }

    #[test]
    fn a_domain_that_rests_saves_for_itself_and_for_all() {
        let (mut rates, start) = (Rates::new(), Instant::now());
        writes(&mut rates, GUEST, start);
        assert_eq!(rates.tick(start + SECOND), [GUEST]);
        // A second is worth 200; one was owed, and ten are kept.
        assert_eq!(writes(&mut rates, DomId(2), start + SECOND), 189 + 1);
        assert_eq!(writes(&mut rates, GUEST, start + SECOND), 11);
        rates.forget(DomId(2));
        rates.tick(start + 100_000 * SECOND);
        let all = writes(&mut rates, GUEST, start + 100_000 * SECOND);
        assert_eq!(all, 1011, "never more than the burst and the reserve");
    }

    #[test]
    fn domain_0_and_who_writes_now_and_then_never_wait() {
        let (mut rates, start) = (Rates::new(), Instant::now());
        for n in 0..100_000_u32 {
            let now = start + SECOND / 100 * n;
            rates.charge(DomId::DOM0, now);
            rates.charge(GUEST, now);
            assert!(!rates.holds(DomId::DOM0) && !rates.holds(GUEST));
        }
        assert_eq!(rates.due(), None);
    }

    #[test]
    fn a_spoiler_waits_longer_each_time_and_a_clock_that_stands_harms_nobody() {
        let (mut rates, start) = (Rates::new(), Instant::now());
        rates.make_room(GUEST, 1, start);
        assert!(!rates.holds(GUEST), "once may happen to anybody");
        for (in_a_row, millis) in [(2, 10), (3, 20), (4, 40), (9, 1000), (u32::MAX, 1000)] {
            rates.make_room(GUEST, in_a_row, start);
            assert_eq!(rates.due(), Some(start + Duration::from_millis(millis)));
            assert_eq!(rates.tick(start), []);
        }
        rates.make_room(GUEST, 2, start);
        assert_eq!(rates.due(), Some(start + SECOND), "the longest counts");
        assert_eq!(rates.tick(start + SECOND), [GUEST]);
        assert_eq!(rates.due(), None);
    }
}
