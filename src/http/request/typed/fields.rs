//! Objects and lists, value by value.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess};
use serde_json::{Map, Value};

use super::reader::Reader;
use super::{Findings, Stop, joined};

/// The fields of an object: first those that a struct declares, in their order, then the others.
pub(super) struct Fields<'a> {
    left: std::vec::IntoIter<(&'a str, Option<&'a Value>)>,
    value: Option<Entry<'a>>,
    path: &'a str,
    findings: &'a Findings,
}

/// The value after a key.
struct Entry<'a> {
    path: String,
    value: Option<&'a Value>,
}

impl<'a> Fields<'a> {
    /// Returns the fields of this object, or a stand-in with all declared fields.
    pub(super) fn of(
        object: Option<&'a Map<String, Value>>,
        declared: &'static [&'static str],
        path: &'a str,
        findings: &'a Findings,
    ) -> Fields<'a> {
        if path.is_empty() {
            findings.declared.set(declared);
        }
        let mut fields = Vec::new();
        for &name in declared {
            let place = joined(path, name);
            match object {
                None => fields.push((name, None)),
                Some(_) if findings.replaced.borrow().contains(&place) => fields.push((name, None)),
                Some(object) => fields.extend(object.get(name).map(|value| (name, Some(value)))),
            }
        }
        for (name, value) in object.into_iter().flatten() {
            let place = joined(path, name);
            if !declared.contains(&name.as_str()) && !findings.left_out.borrow().contains(&place) {
                fields.push((name, findings.at(&place, value)));
            }
        }
        Fields { left: fields.into_iter(), value: None, path, findings }
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some((name, value)) = self.left.next() else { return Ok(None) };
        self.value = Some(Entry { path: joined(self.path, name), value });
        let key: StrDeserializer<'_, Stop> = name.into_deserializer();
        seed.deserialize(key).map(Some).map_err(|stop| stop.at(self.path))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let Entry { path, value } = self.value.take().expect("a key was read");
        seed.deserialize(Reader { value, path: path.clone(), findings: self.findings }).map_err(|stop| stop.at(&path))
    }
}

/// The values of a list.
pub(super) struct List<'a> {
    pub(super) values: Vec<Option<&'a Value>>,
    /// The index of the next value.
    pub(super) next: usize,
    pub(super) path: &'a str,
    pub(super) findings: &'a Findings,
}

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        let Some(value) = self.values.get(self.next) else { return Ok(None) };
        // All values in a list of texts have the name of their field.
        let path = if self.findings.is_text { self.path.to_owned() } else { format!("{}[{}]", self.path, self.next) };
        self.next += 1;
        let value =
            value.and_then(|value| if self.findings.is_text { Some(value) } else { self.findings.at(&path, value) });
        let reader = Reader { value, path: path.clone(), findings: self.findings };
        seed.deserialize(reader).map(Some).map_err(|stop| stop.at(&path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.values.len() - self.next)
    }
}
