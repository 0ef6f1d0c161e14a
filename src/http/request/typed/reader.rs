//! A value for serde, or a stand-in of the type that is expected.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde_json::Value;

use super::super::expected::of_type;
use super::fields::{Fields, List};
use super::{Findings, Path, Place, Stop, Treatment};

#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    /// `None` for a stand-in. Its result is never used, because a fault is recorded.
    pub(super) value: Option<&'a Value>,
    pub(super) place: Place,
    pub(super) path: &'a Path<'a>,
    pub(super) source: Source,
    /// Whether a struct declares the field and its value is missing.
    pub(super) is_absent: bool,
    pub(super) findings: &'a Findings,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Json,
    /// All values are texts. Numbers are parsed, and a single value is also a list with one element.
    Texts,
    /// The name of a field, which can be a number.
    Name,
}

impl<'a> Reader<'a> {
    fn expected(&self, what: impl std::fmt::Display) -> Result<(), Stop> {
        match (self.value, self.source) {
            (None, _) => Ok(()),
            (_, Source::Name) => self.findings.note(self, format_args!("expected {what} as its name")),
            _ => self.findings.note(self, format_args!("expected {what}")),
        }
    }

    /// Converts the value. If that is not possible, a fault is recorded.
    fn take<T>(&self, what: impl std::fmt::Display, of: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, Stop> {
        let taken = self.value.and_then(of);
        match self.value {
            Some(Value::Array(values)) if taken.is_none() && self.source == Source::Texts => {
                self.findings.note(self, format_args!("expected one value, not {}", values.len()))?;
            }
            _ if taken.is_none() => self.expected(what)?,
            _ => {}
        }
        Ok(taken)
    }

    fn number<T: std::str::FromStr>(&self, type_name: &str) -> Result<Option<T>, Stop> {
        self.take(of_type(type_name).unwrap_or("a number"), |value| match value {
            Value::String(text) if self.source != Source::Json => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        })
    }

    fn text(&self) -> Result<&'a str, Stop> {
        self.take("text", Value::as_str).map(Option::unwrap_or_default)
    }

    fn list(&self, what: impl std::fmt::Display) -> Result<Vec<Option<&'a Value>>, Stop> {
        match self.value {
            Some(Value::Array(values)) => Ok(values.iter().map(Some).collect()),
            Some(value) if self.source == Source::Texts => Ok(vec![Some(value)]),
            None if self.is_absent && self.findings.absent_is_empty => {
                self.findings.faults.borrow_mut().retain(|(known, _)| *known != self.place);
                Ok(Vec::new())
            }
            _ => self.expected(what).map(|()| Vec::new()),
        }
    }
}

/// Methods for numbers. The stand-in is 1, which nearly every numeric type accepts.
macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            visitor.$visit(self.number::<$type>(stringify!($type))?.unwrap_or(1 as $type))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Stop;

    numbers! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_f32 visit_f32 f32;
        deserialize_f64 visit_f64 f64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.value {
            None | Some(Value::Null) => visitor.visit_unit(),
            Some(Value::Bool(value)) => visitor.visit_bool(*value),
            Some(Value::Number(number)) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or_default()),
            },
            Some(Value::String(text)) => visitor.visit_str(text),
            Some(Value::Array(_)) => self.deserialize_seq(visitor),
            Some(Value::Object(_)) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let value = self.take("true or false", |value| match value {
            Value::Bool(value) => Some(*value),
            Value::String(text) if self.source != Source::Json => match text.as_str() {
                "true" | "1" | "on" | "yes" => Some(true),
                "false" | "0" | "off" | "no" => Some(false),
                _ => None,
            },
            _ => None,
        })?;
        visitor.visit_bool(value.unwrap_or_default())
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let one = |text: &str| Some(text.chars().next()?).filter(|c| c.len_utf8() == text.len());
        visitor.visit_char(self.take("one character", |value| one(value.as_str()?))?.unwrap_or('a'))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_bytes(self.text()?.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.value {
            None | Some(Value::Null) => visitor.visit_none(),
            Some(Value::String(text)) if text.is_empty() && self.source != Source::Json => visitor.visit_none(),
            Some(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.take("nothing", |value| (value.is_null() || value.as_str() == Some("")).then_some(()))?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let values = self.list("a list")?;
        visitor.visit_seq(List { list: self, values, next: 0, is_open: true })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        let mut values = Reader { is_absent: false, ..self }.list(format_args!("a list of {length}"))?;
        if values.len() != length {
            self.expected(format_args!("a list of {length}"))?;
            values.resize(length, None);
        }
        visitor.visit_seq(List { list: self, values, next: 0, is_open: false })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_struct("", &[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if !self.value.is_some_and(Value::is_object) {
            self.expected("an object")?;
        }
        visitor.visit_map(Fields::of(self, fields)).map_err(|stop| stop.at(&self, Treatment::StandIn))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        match self.value {
            Some(Value::Object(object)) if object.len() == 1 => {
                let fields = MapAccessDeserializer::new(Fields::of_enum(self));
                fields.deserialize_enum(name, variants, visitor)
            }
            Some(Value::String(text)) => visitor.visit_enum(IntoDeserializer::<Stop>::into_deserializer(text.as_str())),
            _ => {
                match self.value {
                    Some(Value::Object(_)) => self.expected("an object with one field")?,
                    _ => _ = self.take(format_args!("one of: {}", variants.join(", ")), |_| None::<()>)?,
                }
                let stand_in = variants.first().copied().unwrap_or_default();
                visitor.visit_enum(IntoDeserializer::<Stop>::into_deserializer(stand_in))
            }
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }
}
