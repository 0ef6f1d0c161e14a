//! `Debug` for types whose content is mostly secret or of no use in a log.

/// Implements `Debug` for a type with these fields and results of methods: `Name { field: value, .. }`, or `Name(..)`
/// without any.
macro_rules! opaque {
    ($name:ident $(<$parameter:ident>)?) => {
        impl$(<$parameter>)? std::fmt::Debug for $name$(<$parameter>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
    ($name:ident $(<$parameter:ident>)? { $($shown:ident $(($($nothing:tt)*))?),+ }) => {
        impl$(<$parameter>)? std::fmt::Debug for $name$(<$parameter>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($shown), &self.$shown $(($($nothing)*))?))+
                    .finish_non_exhaustive()
            }
        }
    };
}
