//! Fields that were serialized before their response: by the program, or once for each kind of response. Held by
//! `response`.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use http::header;

use super::fields::Fields;

pub(crate) enum PreparedFields {
    /// The program's own.
    Shared(Arc<Fields>),
    /// Fields of a kind of response. They have no reference count, because all workers would write to it.
    Static(&'static Fields),
}

impl Deref for PreparedFields {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        match self {
            PreparedFields::Shared(fields) => fields,
            PreparedFields::Static(fields) => fields,
        }
    }
}

/// The kinds of response that have a media type.
pub(crate) static TEXT: LazyLock<Fields> = LazyLock::new(|| of_type("text/plain; charset=utf-8"));
pub(crate) static HTML: LazyLock<Fields> = LazyLock::new(|| of_type("text/html; charset=utf-8"));
pub(crate) static BYTES: LazyLock<Fields> = LazyLock::new(|| of_type("application/octet-stream"));
#[cfg(feature = "json")]
pub(crate) static JSON: LazyLock<Fields> = LazyLock::new(|| of_type("application/json"));

fn of_type(media_type: &'static str) -> Fields {
    Fields::new().with_header(header::CONTENT_TYPE, media_type)
}
