//! Block devices: blkfront and blkback.
//!
//! Not built yet. The ring's structures are already described byte for byte in
//! [`rings::io::blkif`]; the two halves will live here in `front/` and `back/`, which do not import
//! each other.

#![forbid(unsafe_code)]
