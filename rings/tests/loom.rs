//! Can a wake-up be lost, an item be torn, a page be touched after its grant ended? The model
//! checker runs the protocol code of `rings` over memory of its own, in every order of two
//! processes' steps and with every stale value that their orderings allow.
//!
//! ```text
//!   RUSTFLAGS="--cfg loom" cargo test -p rings --release --target-dir target/loom --test loom
//! ```
//!
//! A model without a bound is explored completely; where one is stated at its head it is the
//! number of times a process may be interrupted where it could have gone on. `LOOM_MAX_PREEMPTIONS`
//! replaces all of them. Each model has a twin with one fence left out or one ordering weakened,
//! which must fail: so it is known that the model can.
//!
//! What loom does not show: its fences synchronise with one another, which is a little more than
//! the language promises, so a fence that lacks a partner elsewhere could go unnoticed. What one
//! process does alone is the business of `prop_ring`, `prop_bytes`, `prop_grant` and `prop_evtchn`.

#![cfg(loom)]

#[path = "loom/bytes.rs"]
mod bytes;
#[path = "loom/channel.rs"]
mod channel;
#[path = "loom/grant.rs"]
mod grant;
#[path = "loom/memory.rs"]
mod memory;
#[path = "loom/ring.rs"]
mod ring;

use loom::model::Builder;

/// Runs `model` in every order, with at most `bound` preemptions if there is a bound.
fn explore(bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(bound);
    builder.check(model);
}
