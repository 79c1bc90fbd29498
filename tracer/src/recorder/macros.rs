//! The macros that record: what stands in the source of everybody else.

/// Any count as an argument: what does not fit 32 bits is the largest number.
#[inline(always)]
pub fn clamp(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}

/// A span from here to the end of its scope: `let _span = span!("name")`, with a category of
/// [`format::category`](crate::format::category), an argument and a result where there are some:
///
/// ```
/// # let (ops, copied) = (3_usize, 4096_u64);
/// let mut span = tracer::span!(GRANT, "grant.copy", ops = ops => bytes);
/// span.result(tracer::clamp(copied));
/// ```
#[macro_export]
macro_rules! span {
    ($($category:ident,)? $name:literal $(, $arg:ident = $value:expr)? $(=> $result:ident)?) => {{
        let site = $crate::site!(
            $crate::category!($($category)?),
            $name,
            concat!($(stringify!($arg))?),
            concat!($(stringify!($result))?)
        );
        $crate::Span::enter(site, $crate::arg!($($value)?))
    }};
}

/// A span that leaves no record if nothing is recorded in it, see [`QuietSpan`](crate::QuietSpan).
#[macro_export]
macro_rules! quiet_span {
    ($($category:ident,)? $name:literal $(, $arg:ident = $value:expr)?) => {{
        let site = $crate::site!(
            $crate::category!($($category)?),
            $name,
            concat!($(stringify!($arg))?),
            ""
        );
        $crate::QuietSpan::enter(site, $crate::arg!($($value)?))
    }};
}

/// A [`span!`] that is there with the feature `trace-fine` alone: for what happens to single frames.
#[cfg(feature = "trace-fine")]
#[macro_export]
macro_rules! fine_span {
    ($($tokens:tt)*) => { $crate::span!($($tokens)*) };
}

/// A [`span!`] that is there with the feature `trace-fine` alone: for what happens to single frames.
#[cfg(not(feature = "trace-fine"))]
#[macro_export]
macro_rules! fine_span {
    ($($tokens:tt)*) => {
        $crate::NoSpan
    };
}

/// A [`quiet_span!`] that is there with the feature `trace-fine` alone.
#[cfg(feature = "trace-fine")]
#[macro_export]
macro_rules! fine_quiet_span {
    ($($tokens:tt)*) => { $crate::quiet_span!($($tokens)*) };
}

/// A [`quiet_span!`] that is there with the feature `trace-fine` alone.
#[cfg(not(feature = "trace-fine"))]
#[macro_export]
macro_rules! fine_quiet_span {
    ($($tokens:tt)*) => {
        $crate::NoSpan
    };
}

/// Records a moment: `mark!("name")`, `mark!(ITERATION, "round", number = n)`.
#[macro_export]
macro_rules! mark {
    ($($category:ident,)? $name:literal $(, $arg:ident = $value:expr)?) => {{
        let site = $crate::site!(
            $crate::category!($($category)?),
            $name,
            concat!($(stringify!($arg))?),
            ""
        );
        $crate::mark(site, $crate::arg!($($value)?))
    }};
}

/// Records what a quantity is from now on: `counter!("free grants", n)`.
#[macro_export]
macro_rules! counter {
    ($name:literal, $value:expr) => {{
        let site = $crate::site!($crate::category!(), $name, $name, "");
        $crate::counter(site, $crate::clamp($value))
    }};
}

/// Records that this thread looks for work from now on and finds none, until its next record. To be said after
/// each look in vain; recorded once.
#[macro_export]
macro_rules! spinning {
    ($name:literal) => {{
        let site = $crate::site!($crate::category!(WAIT), $name, "", "");
        $crate::spinning(site)
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! category {
    () => {
        $crate::format::category::FUNCTION
    };
    ($category:ident) => {
        $crate::format::category::$category
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! arg {
    () => {
        0
    };
    ($value:expr) => {
        $crate::clamp($value)
    };
}
