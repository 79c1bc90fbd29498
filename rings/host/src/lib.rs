//! What plays the hypervisor and the toolstack: the only package that knows the lab is simulated.

pub mod store;
