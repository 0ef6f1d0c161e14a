//! Placeholder.
use http::{Method, Version};
/// A request.
pub struct Request {
    method: Method,
    version: Version,
    fields: Vec<(String, Vec<u8>)>,
}
impl Request {
    /// Its method.
    pub fn method(&self) -> &Method {
        &self.method
    }
    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }
    /// Its target.
    pub fn target(&self) -> &str {
        "/"
    }
    /// The time.
    pub fn now(&self) -> std::time::SystemTime {
        std::time::SystemTime::now()
    }
    /// Its path.
    pub fn path(&self) -> &str {
        "/"
    }
    /// A parameter.
    pub fn param(&self, _name: &str) -> Option<std::borrow::Cow<'_, str>> {
        None
    }
    /// Every field of that name.
    pub fn header_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }
    /// The first field of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
    /// For tests.
    pub fn new(method: Method, target: &str) -> Result<Request, super::error::Error> {
        let _ = target;
        Ok(Request { method, version: Version::HTTP_11, fields: Vec::new() })
    }
    /// For tests.
    pub fn get(target: &str) -> Request {
        Request::new(Method::GET, target).unwrap()
    }
    /// For tests.
    pub fn with_header(mut self, name: &str, value: &str) -> Request {
        self.fields.push((name.into(), value.as_bytes().to_vec()));
        self
    }
}
