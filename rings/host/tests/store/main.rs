//! The store as its users meet it: the client of `rings` over an in-memory transport against the
//! server of `rings-host`, byte for byte what would cross a socket.
//!
//! Xen's own tools against a real socket are tried elsewhere.

mod bytes;
mod devices;
mod domains;
mod lab;
mod model;
mod quotas;
mod transactions;
mod watches;
