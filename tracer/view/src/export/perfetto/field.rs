//! Numbers of messages' fields, from `perfetto/trace/*.proto`.

pub(super) const PACKET: u64 = 1;
pub(super) mod packet {
    pub(in super::super) const CLOCK_SNAPSHOT: u64 = 6;
    pub(in super::super) const TIMESTAMP: u64 = 8;
    pub(in super::super) const SEQUENCE: u64 = 10;
    pub(in super::super) const EVENT: u64 = 11;
    pub(in super::super) const INTERNED: u64 = 12;
    pub(in super::super) const FLAGS: u64 = 13;
    pub(in super::super) const CLOCK: u64 = 58;
    pub(in super::super) const DEFAULTS: u64 = 59;
    pub(in super::super) const TRACK: u64 = 60;
}
pub(super) mod track {
    /// Where it stands among its like.
    pub(in super::super) const RANK: u64 = 12;
    /// Of track 0: processes, and threads, stand in the order of their ranks.
    pub(in super::super) const RANKED_PROCESSES: u64 = 19;
    pub(in super::super) const RANKED_THREADS: u64 = 20;
}
pub(super) mod event {
    pub(in super::super) const CATEGORY: u64 = 3;
    pub(in super::super) const ANNOTATION: u64 = 4;
    pub(in super::super) const TYPE: u64 = 9;
    pub(in super::super) const NAME: u64 = 10;
    pub(in super::super) const TRACK: u64 = 11;
    pub(in super::super) const NAME_TEXT: u64 = 23;
    pub(in super::super) const CATEGORY_TEXT: u64 = 22;
    pub(in super::super) const VALUE: u64 = 30;
    pub(in super::super) const FLOW: u64 = 47;
    pub(in super::super) const FLOW_END: u64 = 48;
}
