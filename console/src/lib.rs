//! The console: the guest's half and xenconsoled's half of Xen's console ring.
//!
//! Not built yet. The shared page is already described byte for byte in [`rings::io::console`];
//! the two halves will live here in `front/` and `back/`, which do not import each other.

#![forbid(unsafe_code)]
