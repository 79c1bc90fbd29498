//! Enums over the numbers that travel on a page, with `from_raw` as the one way in.
//!
//! The other end can write any number, so none becomes an enum by a cast: `from_raw` says `None` to a
//! number without a meaning, and `as` is for the way out alone. The numbers themselves live with
//! the structures they are fields of.

/// Declares such an enum. The type after the colon is the field's on the page.
macro_rules! numbered {
    (
        $(#[$doc:meta])*
        pub enum $name:ident: $raw:ident {
            $( $(#[$vdoc:meta])* $variant:ident = $number:literal, )*
        }
    ) => {
        $(#[$doc])*
        #[repr($raw)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $( $(#[$vdoc])* $variant = $number, )*
        }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &[Self] = &[$( Self::$variant, )*];

            /// The value with this number, if there is one.
            pub const fn from_raw(raw: $raw) -> Option<Self> {
                match raw {
                    $( $number => Some(Self::$variant), )*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use numbered;
