//! What can be asked of a node. The same calls inside a transaction and outside it.
//!
//! Each call is one request and one reply. Replies are checked here as far as their content goes;
//! that they belong to the request is checked by whoever implements [`Nodes::request`].

use super::{Perm, StoreError};
use crate::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XsdError, XsdType};

/// The node calls of [`XsClient`](super::XsClient) and [`Transaction`](super::Transaction).
///
/// Paths that do not begin with `/` are relative to the caller's own `/local/domain/<domid>`.
/// Every call fails with [`StoreError::Refused`] and Xen's errno name if the store says no:
/// `ENOENT` no such node, `EACCES` not allowed, `EINVAL` not a path, `ENOSPC` over quota.
pub trait Nodes {
    /// Sends one request whose payload is `parts` in a row and returns the payload of its reply.
    /// `path` only names the matter in errors.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn request(
        &mut self,
        request: XsdType,
        path: &str,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, StoreError>;

    /// The node's value, any bytes.
    ///
    /// # Errors
    /// See [`Nodes`].
    fn read(&mut self, path: &str) -> Result<Vec<u8>, StoreError> {
        self.on_path(XsdType::READ, path)
    }

    /// The node's value as text.
    ///
    /// # Errors
    /// See [`Nodes`]; [`StoreError::Value`] if it is not UTF-8.
    fn read_string(&mut self, path: &str) -> Result<String, StoreError> {
        String::from_utf8(self.read(path)?).map_err(|bad| StoreError::Value {
            path: path.to_owned(),
            value: String::from_utf8_lossy(bad.as_bytes()).into_owned(),
            expected: "text in UTF-8",
        })
    }

    /// The node's value as text, `None` if there is no such node.
    ///
    /// # Errors
    /// As [`Nodes::read_string`], except `ENOENT`.
    fn read_if_present(&mut self, path: &str) -> Result<Option<String>, StoreError> {
        match self.read_string(path) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the value; makes the node, and those above it, if missing.
    ///
    /// # Errors
    /// See [`Nodes`].
    fn write(&mut self, path: &str, value: impl AsRef<[u8]>) -> Result<(), StoreError>
    where
        Self: Sized,
    {
        acknowledged(self.request(XsdType::WRITE, path, &[path.as_bytes(), b"\0", value.as_ref()]))
    }

    /// Makes an empty node, and those above it, if missing.
    ///
    /// # Errors
    /// See [`Nodes`].
    fn mkdir(&mut self, path: &str) -> Result<(), StoreError> {
        acknowledged(self.on_path(XsdType::MKDIR, path))
    }

    /// Removes the node and all below it. It may be missing, the node above it may not.
    ///
    /// # Errors
    /// See [`Nodes`].
    fn rm(&mut self, path: &str) -> Result<(), StoreError> {
        acknowledged(self.on_path(XsdType::RM, path))
    }

    /// Names of the node's children, however many.
    ///
    /// # Errors
    /// See [`Nodes`].
    fn directory(&mut self, path: &str) -> Result<Vec<String>, StoreError> {
        match self.on_path(XsdType::DIRECTORY, path) {
            Ok(names) => strings(&names),
            Err(error) if error.xsd_error() == Some(XsdError::E2BIG) => in_parts(self, path),
            Err(error) => Err(error),
        }
    }

    /// The node's permissions; the first names the owner.
    ///
    /// # Errors
    /// See [`Nodes`].
    fn get_perms(&mut self, path: &str) -> Result<Vec<Perm>, StoreError> {
        let texts = strings(&self.on_path(XsdType::GET_PERMS, path)?)?;
        let perms: Result<Vec<_>, _> = texts.iter().map(|text| text.parse()).collect();
        perms.map_err(|_| StoreError::Protocol("a permission that is none"))
    }

    /// Replaces the node's permissions.
    ///
    /// # Errors
    /// See [`Nodes`]; `EPERM` if a domain that is not privileged gives the node away.
    fn set_perms(&mut self, path: &str, perms: &[Perm]) -> Result<(), StoreError> {
        let texts: String = perms.iter().map(|perm| format!("{perm}\0")).collect();
        let parts = [path.as_bytes(), b"\0", texts.as_bytes()];
        acknowledged(self.request(XsdType::SET_PERMS, path, &parts))
    }

    /// Sends a request whose payload is a path alone.
    ///
    /// # Errors
    /// See [`Nodes`].
    fn on_path(&mut self, request: XsdType, path: &str) -> Result<Vec<u8>, StoreError> {
        self.request(request, path, &[path.as_bytes(), b"\0"])
    }
}

/// Reads a long list of children piece by piece, again from the start whenever it changed.
fn in_parts<N: Nodes + ?Sized>(nodes: &mut N, path: &str) -> Result<Vec<String>, StoreError> {
    // A directory that changes for ever, or a server that says so, must not hold us for ever.
    for _ in 0..MAX_RESTARTS {
        if let Some(names) = in_parts_once(nodes, path)? {
            return Ok(names);
        }
    }
    Err(StoreError::Conflict(MAX_RESTARTS))
}

const MAX_RESTARTS: u32 = 64;
/// A server that never comes to the end of a list is lying.
const MAX_LIST_BYTES: usize = 4096 * XENSTORE_PAYLOAD_MAX;

/// `None`: the list changed between two pieces.
fn in_parts_once<N: Nodes + ?Sized>(
    nodes: &mut N,
    path: &str,
) -> Result<Option<Vec<String>>, StoreError> {
    let mut list = Vec::new();
    let mut generation = None;
    while list.len() < MAX_LIST_BYTES {
        let offset = format!("{}\0", list.len());
        let parts = [path.as_bytes(), b"\0", offset.as_bytes()];
        let reply = nodes.request(XsdType::DIRECTORY_PART, path, &parts)?;
        let end = reply.iter().position(|&byte| byte == 0);
        let end = end.ok_or(StoreError::Protocol("DIRECTORY_PART without generation"))?;
        let (seen, names) = (&reply[..end], &reply[end + 1..]);
        if generation.get_or_insert_with(|| seen.to_vec()) != seen {
            return Ok(None);
        }
        match names {
            // An empty name marks the end.
            [0] => return strings(&list).map(Some),
            [head @ .., 0, 0] => {
                list.extend_from_slice(head);
                list.push(0);
                return strings(&list).map(Some);
            }
            [.., 0] => list.extend_from_slice(names),
            _ => return Err(StoreError::Protocol("DIRECTORY_PART without progress")),
        }
    }
    Err(StoreError::Protocol("DIRECTORY_PART without end"))
}

/// Splits a list of strings with a NUL behind each.
pub(super) fn strings(payload: &[u8]) -> Result<Vec<String>, StoreError> {
    let Some((last, texts)) = payload.split_last() else { return Ok(Vec::new()) };
    if *last != 0 {
        return Err(StoreError::Protocol("a string without its NUL"));
    }
    let texts = texts.split(|&byte| byte == 0).map(|text| String::from_utf8(text.to_vec()));
    texts.collect::<Result<_, _>>().map_err(|_| StoreError::Protocol("a string not in UTF-8"))
}

/// The reply of a request that only succeeds is "OK".
pub(super) fn acknowledged(reply: Result<Vec<u8>, StoreError>) -> Result<(), StoreError> {
    match reply?.as_slice() {
        b"OK\0" => Ok(()),
        _ => Err(StoreError::Protocol("an acknowledgement other than OK")),
    }
}
