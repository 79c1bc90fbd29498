//! netfront.
