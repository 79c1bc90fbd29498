//! Paths: from the bytes of a request to a name that is known to be good.
//!
//! A [`NodePath`] is absolute, has no empty parts, no slash at its end and only Xen's characters;
//! whoever holds one need not check again. Whether a node of that name exists is the tree's
//! business. Rules: `is_valid_nodename` and `canonicalize` of xenstored, docs/misc/xenstore.txt.

use std::fmt;

use rings::DomId;
use rings::io::xs_wire::{XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX, XsdError};

/// A checked absolute path. `/` is the root.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct NodePath(Box<str>);

/// Where the relative paths of a domain begin.
pub(super) fn home(domid: DomId) -> String {
    format!("/local/domain/{domid}")
}

impl NodePath {
    pub(super) fn root() -> Self {
        Self("/".into())
    }

    /// The path `caller` means by `raw`. `longest` bounds what follows `/local/domain/<domid>/`
    /// for callers that are not privileged.
    pub(super) fn parse(raw: &[u8], caller: DomId, longest: usize) -> Result<Self, XsdError> {
        let text = valid_chars(raw)?;
        let path = if text.starts_with('/') {
            Self::within(text, XENSTORE_ABS_PATH_MAX)?.to_owned()
        } else if text.starts_with('@') {
            return Err(XsdError::EINVAL);
        } else {
            format!("{}/{}", home(caller), Self::within(text, XENSTORE_REL_PATH_MAX)?)
        };
        let slash_at_end = path.len() > 1 && path.ends_with('/');
        let too_long = caller != DomId::DOM0 && counted_len(&path) > longest;
        if slash_at_end || too_long || path.contains("//") {
            return Err(XsdError::EINVAL);
        }
        Ok(Self(path.into()))
    }

    fn within(text: &str, longest: usize) -> Result<&str, XsdError> {
        if text.len() > longest { Err(XsdError::EINVAL) } else { Ok(text) }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The names on the way from the root; none for the root itself.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The last name; empty for the root.
    pub(super) fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The path above; `None` above the root.
    pub(super) fn parent(&self) -> Option<Self> {
        let (above, name) = self.0.rsplit_once('/')?;
        match (above, name) {
            (_, "") => None,
            ("", _) => Some(Self::root()),
            _ => Some(Self(above.into())),
        }
    }

    /// The path of a child. `name` is one that stands in the tree, so it is good.
    pub(super) fn child(&self, name: &str) -> Self {
        let above = self.0.trim_end_matches('/');
        Self(format!("{above}/{name}").into())
    }

    /// The first `names` names of this path.
    pub(super) fn ancestor(&self, names: usize) -> Self {
        match self.0.match_indices('/').nth(names) {
            _ if names == 0 => Self::root(),
            Some((end, _)) => Self(self.0[..end].into()),
            None => self.clone(),
        }
    }

    /// Whether this is `top` or lies below it.
    pub(super) fn is_within(&self, top: &Self) -> bool {
        let above = top.0.trim_end_matches('/');
        self.0.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text of the characters Xen allows in names and paths.
pub(super) fn valid_chars(raw: &[u8]) -> Result<&str, XsdError> {
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(byte);
    if !raw.iter().all(good) {
        return Err(XsdError::EINVAL);
    }
    str::from_utf8(raw).map_err(|_| XsdError::EINVAL)
}

/// Bytes that count towards the quota: those below a domain's home, wherever that home is.
fn counted_len(path: &str) -> usize {
    let below = path.strip_prefix("/local/domain/").and_then(|rest| rest.split_once('/'));
    match below {
        Some((domid, rest)) if domid.parse::<u16>().is_ok() => rest.len(),
        _ => path.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str, caller: u16) -> Result<String, XsdError> {
        NodePath::parse(raw.as_bytes(), DomId(caller), 2048).map(|path| path.to_string())
    }

    #[test]
    fn relative_paths_begin_at_the_callers_home() {
        assert_eq!(parse("device/vif", 3).unwrap(), "/local/domain/3/device/vif");
        assert_eq!(parse("/device", 3).unwrap(), "/device");
        assert_eq!(parse("/", 3).unwrap(), "/");
    }

    #[test]
    fn malformed_paths_are_refused() {
        for raw in ["", "//", "/a//b", "/a/", "a/", "/local/domain/", "@x", "/a b", "/ä", "/a\0"] {
            assert_eq!(parse(raw, 1), Err(XsdError::EINVAL), "{raw:?}");
        }
    }

    #[test]
    fn length_counts_below_the_home() {
        let name = |len| "x".repeat(len);
        assert!(parse(&name(2048), 1).is_ok());
        assert!(parse(&name(2049), 0).is_err());
        assert!(parse(&format!("/local/domain/1/{}", name(2048)), 1).is_ok());
        assert!(parse(&format!("/local/domain/1/{}", name(2049)), 1).is_err());
        assert!(parse(&format!("/{}", name(2048)), 1).is_err());
        assert!(parse(&format!("/{}", name(3071)), 0).is_ok());
        assert!(parse(&format!("/{}", name(3072)), 0).is_err());
    }

    #[test]
    fn family_relations() {
        let path = |raw: &str| NodePath::parse(raw.as_bytes(), DomId::DOM0, 2048).unwrap();
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(path("/")));
        assert_eq!(path("/").parent(), None);
        assert_eq!(path("/").child("a"), path("/a"));
        assert_eq!(path("/a").child("b").name(), "b");
        assert_eq!(path("/a/b/c").ancestor(0), path("/"));
        assert_eq!(path("/a/b/c").ancestor(2), path("/a/b"));
        assert_eq!(path("/a/b/c").ancestor(3), path("/a/b/c"));
        assert!(path("/a/b").is_within(&path("/a")) && path("/a").is_within(&path("/")));
        assert!(!path("/ab").is_within(&path("/a")) && !path("/a").is_within(&path("/a/b")));
    }
}
