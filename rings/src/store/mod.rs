//! The client's half of xenstore.

/// stand-in until the store lands
pub trait Transport: Send {}
/// stand-in until the store lands
#[derive(Debug)]
pub struct XsClient<T>(T);
