//! Assertions about a response, which print the expected and the actual value, and the request.

use std::fmt;

use super::SentResponse;

/// Assertions. Each prints the whole response and, if known, the request.
///
/// ```
/// use modest::{Response, handler_fn, testing};
///
/// let server = testing::serve(handler_fn(|_| Ok(Response::json(&[1, 2]).with_status(201))));
/// server.get("/").assert_status(201).assert_header("content-type", "application/json").assert_json(&[1, 2]);
/// ```
impl SentResponse {
    /// # Panics
    /// If it has another status.
    #[track_caller]
    pub fn assert_status(&self, expected: u16) -> &SentResponse {
        self.assert_same("status", &self.status().as_u16(), &expected)
    }

    /// # Panics
    /// If it has no such field, or the first one has another value.
    #[track_caller]
    pub fn assert_header(&self, name: &str, expected: &str) -> &SentResponse {
        self.assert_same(name, &self.header(name), &Some(expected))
    }

    /// # Panics
    /// If it has such a field.
    #[track_caller]
    pub fn assert_no_header(&self, name: &str) -> &SentResponse {
        self.assert_same(name, &self.header(name), &None)
    }

    /// # Panics
    /// If its body is another text.
    #[track_caller]
    pub fn assert_text(&self, expected: &str) -> &SentResponse {
        self.assert_same("body", &&*String::from_utf8_lossy(self.body()), &expected)
    }

    /// # Panics
    /// If its body does not contain this text.
    #[track_caller]
    pub fn assert_contains(&self, expected: &str) -> &SentResponse {
        let body = String::from_utf8_lossy(self.body());
        assert!(body.contains(expected), "body: expected to find {expected:?}{}", Whole(self));
        self
    }

    /// # Panics
    /// If its body is not this value as JSON, in any order of members.
    #[cfg(feature = "json")]
    #[track_caller]
    pub fn assert_json<T: serde::Serialize + ?Sized>(&self, expected: &T) -> &SentResponse {
        let expected = serde_json::to_value(expected).expect("the expected value is JSON");
        let found: Result<serde_json::Value, _> = serde_json::from_slice(self.body());
        match found {
            Ok(found) => self.assert_same("body", &found, &expected),
            Err(error) => panic!("body: expected {expected}, and it is not JSON ({error}){}", Whole(self)),
        }
    }

    #[track_caller]
    fn assert_same<T: PartialEq + fmt::Debug>(&self, what: &str, found: &T, expected: &T) -> &SentResponse {
        assert!(found == expected, "{what}: expected {expected:?}, found {found:?}{}", Whole(self));
        self
    }
}

/// The response and its request, as lines.
struct Whole<'a>(&'a SentResponse);

impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Whole(sent) = self;
        if let Some(asked) = sent.asked() {
            write!(f, "\n--- request\n{}", asked.trim_end())?;
        }
        write!(f, "\n--- response\n{}", sent.status())?;
        for (name, value) in sent.headers() {
            write!(f, "\n{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        write!(f, "\n\n{}\n---", String::from_utf8_lossy(sent.body()))
    }
}
