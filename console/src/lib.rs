//! The console: the guest's half and xenconsoled's half of Xen's console ring.
//!
//! ```text
//!   guest (front)                 one page                xenconsoled (back)
//!   put   -> out, 2,048 bytes  ------------>  drain -> log file
//!                                                   -> buffer (1 MiB: what nobody takes is
//!                                                      discarded from its middle, or held back)
//!                                                   -> pty, whose path is the key `tty`
//!   get   <- in, 1,024 bytes   <------------  what is typed there
//! ```
//!
//! Bytes wait in three places: in the ring, in the buffer, in the pty. A guest that finds the ring full
//! blocks, spins or drops ([`front::OnFull`]). xenconsoled takes at most so many events from each guest
//! in a time ([`back::EventLimit`]), by leaving its port masked until the time is over; that is why
//! a console is slow, however fast both ends are.
//!
//! The two halves do not know each other. The page is `rings::bytes`; processes, workloads and the
//! terminal of the user live in `testbeds`.

#![forbid(unsafe_code)]

pub mod back;
pub mod front;
