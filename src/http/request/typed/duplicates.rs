//! The path of a name that an object has twice. serde reports only the name.

use std::cell::RefCell;
use std::fmt;
use std::mem;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Path, Step};

/// Returns the path of the last member of this name in `json` that has another one before it in its object. `json` ends
/// where serde has stopped.
pub(super) fn path_of_last(name: &str, json: &[u8]) -> Option<String> {
    let (found, path) = (RefCell::default(), Path { parent: None, step: Step::Name("") });
    let mut reader = serde_json::Deserializer::from_slice(json);
    let _ = Search { name, path: &path, found: &found }.deserialize(&mut reader); // an error at the end of `json`
    found.into_inner()
}

#[derive(Clone, Copy)]
struct Search<'a> {
    name: &'a str,
    path: &'a Path<'a>,
    found: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

/// Values that contain no others.
macro_rules! scalars {
    ($($method:ident $type:ty),*) => {$(
        fn $method<E>(self, _: $type) -> Result<(), E> {
            Ok(())
        }
    )*};
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    scalars!(visit_bool bool, visit_i64 i64, visit_u64 u64, visit_f64 f64, visit_str &str);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for index in 0.. {
            let path = Path { parent: Some(self.path), step: Step::Index(index) };
            if list.next_element_seed(Search { path: &path, ..self })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut has_name = false;
        while let Some(name) = members.next_key::<String>()? {
            let path = Path { parent: Some(self.path), step: Step::Name(&name) };
            if name == self.name && mem::replace(&mut has_name, true) {
                *self.found.borrow_mut() = Some(path.text());
            }
            members.next_value_seed(Search { path: &path, ..self })?;
        }
        Ok(())
    }
}
