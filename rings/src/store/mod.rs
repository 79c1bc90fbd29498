//! The client's half of xenstore.
