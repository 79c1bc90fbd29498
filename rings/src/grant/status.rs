//! What a grant operation answers (`GNTST_*`, grant_table.h).

/// The status codes of grant operations, with Xen's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(i16)]
pub enum GntStatus {
    /// Normal operation.
    #[default]
    Okay = 0,
    /// General undefined error: wrong type or domain, or a write through a read-only grant.
    GeneralError = -1,
    /// Unrecognised domain.
    BadDomain = -2,
    /// Unrecognised or inappropriate gref.
    BadGntref = -3,
    /// Unrecognised or inappropriate handle.
    BadHandle = -4,
    /// Out of space in the map table.
    NoDeviceSpace = -7,
    /// Not enough privilege.
    PermissionDenied = -8,
    /// The frame is not one of the granter's.
    BadPage = -9,
    /// Copy arguments cross a page boundary.
    BadCopyArg = -10,
    /// Out of space in the host's own tables.
    NoSpace = -13,
}

/// Short name for the error half of [`GntStatus`] in results.
pub type Misuse = GntStatus;

impl GntStatus {
    /// The status as Xen's number.
    #[must_use]
    pub fn code(self) -> i16 {
        self as i16
    }

    /// Whether the operation was done.
    #[must_use]
    pub fn is_okay(self) -> bool {
        self == Self::Okay
    }
}

impl std::fmt::Display for GntStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Okay => "okay",
            Self::GeneralError => "general error: the grant is not for this domain or this access",
            Self::BadDomain => "bad domain",
            Self::BadGntref => "bad gntref: outside the granter's table",
            Self::BadHandle => "bad handle",
            Self::NoDeviceSpace => "no device space",
            Self::PermissionDenied => "permission denied",
            Self::BadPage => "bad page: the granter has no such frame",
            Self::BadCopyArg => "bad copy arg: crosses a page boundary",
            Self::NoSpace => "no space",
        })
    }
}
