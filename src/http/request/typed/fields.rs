//! Objects and lists, value by value.

use serde::de::{DeserializeSeed, MapAccess, SeqAccess};
use serde_json::Value;

use super::reader::{Reader, Source};
use super::{Path, Place, Step, Stop, Treatment, place_of};

/// The fields of an object: first the stand-ins for missing fields that a struct declares, then those that it has.
pub(super) struct Fields<'a> {
    object: Reader<'a>,
    left: std::vec::IntoIter<Field<'a>>,
    value: Option<Field<'a>>,
    /// Whether the name of the only field is a variant of an enum.
    is_enum: bool,
}

#[derive(Clone, Copy)]
struct Field<'a> {
    name: &'a str,
    /// `None` for a stand-in.
    value: Option<&'a Value>,
    place: Place,
}

impl<'a> Fields<'a> {
    /// Returns the fields of this object, or a stand-in with all declared fields.
    pub(super) fn of(object: Reader<'a>, declared: &'static [&'static str]) -> Fields<'a> {
        let findings = object.findings;
        if object.path.parent.is_none() {
            findings.declared.set(declared);
        }
        let mut fields = Vec::new();
        let entries = object.value.and_then(Value::as_object);
        for &name in declared {
            let place = (object.place.0, name);
            match entries {
                None => fields.push(Field { name, value: None, place: object.place }),
                Some(_) if findings.treatment(place).is_some() => fields.push(Field { name, value: None, place }),
                Some(_) => {}
            }
        }
        for (name, value) in entries.into_iter().flatten() {
            let place = place_of(value);
            match findings.treatment(place) {
                None => fields.push(Field { name, value: Some(value), place }),
                Some(Treatment::StandIn) => fields.push(Field { name, value: None, place }),
                Some(Treatment::LeftOut) => {}
            }
        }
        Fields { object, left: fields.into_iter(), value: None, is_enum: false }
    }

    /// Returns the only field of this object: a variant of an enum, and its value.
    pub(super) fn of_enum(object: Reader<'a>) -> Fields<'a> {
        Fields { is_enum: true, ..Fields::of(object, &[]) }
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some(field) = self.left.next() else { return Ok(None) };
        self.value = Some(field);
        let path = Path { parent: Some(self.object.path), step: Step::Name(field.name) };
        let name = Value::String(field.name.to_owned());
        let (value, place, source) = (Some(&name), field.place, Source::Name);
        let key = Reader { value, place, path: &path, source, is_absent: false, findings: self.object.findings };
        seed.deserialize(key).map(Some).map_err(|stop| match self.is_enum {
            true => stop.at(&self.object, Treatment::StandIn),
            false => stop.at(&key, Treatment::LeftOut),
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let Field { name, value, place } = self.value.take().expect("a key was read");
        let path = Path { parent: Some(self.object.path), step: Step::Name(name) };
        let is_absent = value.is_none() && !place.1.is_empty() && self.object.value.is_some();
        let reader = Reader { value, place, path: &path, is_absent, ..self.object };
        seed.deserialize(reader).map_err(|stop| stop.at(&reader, Treatment::StandIn))
    }
}

pub(super) struct List<'a> {
    pub(super) list: Reader<'a>,
    pub(super) values: Vec<Option<&'a Value>>,
    /// The index of the next value.
    pub(super) next: usize,
    /// Whether the type requires no number of values, so that some can be left out.
    pub(super) is_open: bool,
}

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        let is_text = self.list.source == Source::Texts;
        while let Some(&value) = self.values.get(self.next) {
            let step = Path { parent: Some(self.list.path), step: Step::Index(self.next) };
            self.next += 1;
            // All values in a list of texts have the name of their field.
            let (place, path) = match value {
                Some(value) if !is_text => (place_of(value), &step),
                _ => (self.list.place, self.list.path),
            };
            let value = match self.list.findings.treatment(place) {
                Some(Treatment::LeftOut) if self.is_open => continue,
                Some(_) => None,
                None => value,
            };
            let reader = Reader { value, place, path, is_absent: false, ..self.list };
            return seed.deserialize(reader).map(Some).map_err(|stop| stop.at(&reader, Treatment::StandIn));
        }
        Ok(None)
    }
}
