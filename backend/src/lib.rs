//! netback.
