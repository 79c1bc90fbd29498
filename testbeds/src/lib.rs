//! What the command `pvlab` is made of. The binary only starts it; domains, workloads and the host's part of a run
//! live in modules of their own.

#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod counters;
pub mod domain;
pub mod lab;
pub mod payload;
pub mod report;
pub mod results;
pub mod run;
pub mod trace;
pub mod units;
pub mod workload;
