//! A request of a test client.

use memchr::memmem;

use crate::{Method, Request, media_type_of};

/// A request to a [`TestServer`](super::TestServer).
///
/// ```
/// use modest::testing::TestRequest;
/// use modest::{Method, Response, handler_fn, testing};
///
/// let server = testing::serve(handler_fn(|request| Ok(Response::text(request.header("x-key").unwrap_or("?").to_owned()))));
/// let request = TestRequest::new(Method::PUT, "/").with_header("x-key", "7").with_body("hello");
/// assert_eq!(server.send(request).text(), "7");
/// ```
#[derive(Clone, Debug)]
#[must_use = "is sent only by `TestServer::send`"]
pub struct TestRequest {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl TestRequest {
    /// Returns a request with this method and target, and with `Host: localhost`.
    pub fn new(method: Method, target: impl Into<String>) -> TestRequest {
        TestRequest { method, target: target.into(), fields: Vec::new(), body: Vec::new() }
    }

    /// Adds a field, which is sent unchanged, valid or not. `Host` replaces the default one. `Content-Length` and
    /// `Transfer-Encoding` replace the body's field.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> TestRequest {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Sets the body, and its `Content-Length`.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> TestRequest {
        self.body = body.into();
        self
    }

    /// Sets the body to this value as JSON, with its `Content-Length` and `Content-Type`.
    ///
    /// ```
    /// use modest::testing::{self, TestRequest};
    /// use modest::{Method, Response, handler_fn};
    ///
    /// let server = testing::serve(handler_fn(|request| Ok(Response::json(&request.json::<[u32; 2]>()?.iter().sum::<u32>()))));
    /// let request = TestRequest::new(Method::PUT, "/").with_json(&[1, 2]);
    /// assert_eq!(server.send(request).json::<u32>(), 3);
    /// ```
    ///
    /// # Panics
    /// If the value cannot be serialized.
    #[cfg(feature = "json")]
    #[track_caller]
    pub fn with_json<T: serde::Serialize + ?Sized>(self, value: &T) -> TestRequest {
        let body = serde_json::to_vec(value).expect("the value is JSON");
        self.with_header("Content-Type", "application/json").with_body(body)
    }

    /// Sets the body to a form with these fields, for [`Request::form`]. Line breaks are sent as CRLF, as browsers do.
    ///
    /// ```
    /// use modest::testing::{self, TestRequest};
    /// use modest::{Method, Response, handler_fn};
    ///
    /// let server = testing::serve(handler_fn(|request| Ok(Response::text(request.form()?.parse::<String>("title")?))));
    /// let request = TestRequest::new(Method::PUT, "/").with_form(&[("title", "Tea & cake")]);
    /// assert_eq!(server.send(request).text(), "Tea & cake");
    /// ```
    pub fn with_form(self, fields: &[(&str, &str)]) -> TestRequest {
        let fields = fields.iter().map(|(name, value)| (with_crlf(name), with_crlf(value)));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.with_header("Content-Type", "application/x-www-form-urlencoded").with_body(body)
    }

    /// Sets the body to a form with these fields and these files, for [`Request::form_data`]. A file has the name of
    /// its field, a file name and a content. Its media type follows from the file name. Line breaks are sent as CRLF,
    /// except those of files and file names.
    ///
    /// ```
    /// use modest::testing::{self, TestRequest};
    /// use modest::{Method, OrStatus, Response, handler_fn};
    ///
    /// let server = testing::serve(handler_fn(|request| {
    ///     let mut form = request.form_data()?;
    ///     let title = form.next_part()?.or_status(400)?.text()?;
    ///     let photo = form.next_part()?.or_status(400)?;
    ///     let kind = photo.content_type().unwrap_or("?").to_owned();
    ///     Ok(Response::text(format!("{title}, {kind}, {} bytes", photo.bytes(1 << 20)?.len())))
    /// }));
    /// let form = TestRequest::new(Method::POST, "/").with_form_data(&[("title", "Tea")], &[("photo", "tea.jpg", b"\xff\xd8")]);
    /// assert_eq!(server.send(form).text(), "Tea, image/jpeg, 2 bytes");
    /// ```
    pub fn with_form_data(self, fields: &[(&str, &str)], files: &[(&str, &str, &[u8])]) -> TestRequest {
        let fields = fields.iter().map(|(name, value)| part(name, None, with_crlf(value).as_bytes()));
        let files = files.iter().map(|(name, file_name, content)| part(name, Some(file_name), content));
        let parts: Vec<Vec<u8>> = fields.chain(files).collect();
        let is_new = |boundary: &String| parts.iter().all(|part| memmem::find(part, boundary.as_bytes()).is_none());
        let boundary = (0..).map(|number| format!("form-boundary-{number}")).find(is_new).unwrap_or_default();
        let delimiter = format!("--{boundary}\r\n");
        let mut body: Vec<u8> = parts.iter().flat_map(|part| [delimiter.as_bytes(), part].concat()).collect();
        body.extend(format!("--{boundary}--\r\n").into_bytes());
        self.with_header("Content-Type", format!("multipart/form-data; boundary={boundary}")).with_body(body)
    }

    /// Returns the request as text for messages.
    pub(super) fn text(&self) -> String {
        [String::from_utf8_lossy(&self.head()), String::from_utf8_lossy(&self.body)].concat()
    }

    pub(super) fn head(&self) -> Vec<u8> {
        self.head_with("close")
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    pub(super) fn head_with(&self, connection: &str) -> Vec<u8> {
        let has = |name: &str| self.field(name).is_some();
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !has("host") {
            head.push_str("Host: localhost\r\n");
        }
        if !has("connection") {
            head.push_str(&format!("Connection: {connection}\r\n"));
        }
        let has_body = !self.body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(&self.method);
        if has_body && !has("content-length") && !has("transfer-encoding") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// A GET of this target.
impl From<&str> for TestRequest {
    fn from(target: &str) -> TestRequest {
        TestRequest::new(Method::GET, target)
    }
}

/// A GET of this target.
impl From<&String> for TestRequest {
    fn from(target: &String) -> TestRequest {
        TestRequest::new(Method::GET, target)
    }
}

/// Converts a request made by hand, with its fields and its body.
impl From<Request> for TestRequest {
    fn from(request: Request) -> TestRequest {
        TestRequest::from(&request)
    }
}

/// Converts a request made by hand, with its fields and its body.
impl From<&Request> for TestRequest {
    fn from(request: &Request) -> TestRequest {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = request.fields().map(|(name, value)| (text(name), text(value))).collect();
        let body = request.bytes().unwrap_or_else(|error| panic!("{request:?}: its body: {error}")).into_owned();
        TestRequest { method: request.method().clone(), target: request.target().to_owned(), fields, body }
    }
}

/// Returns a part of a form, with the line break before the next delimiter. Names are encoded as browsers encode them.
fn part(name: &str, file_name: Option<&str>, content: &[u8]) -> Vec<u8> {
    let quoted = |text: &str| text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let mut head = format!("Content-Disposition: form-data; name=\"{}\"", quoted(&with_crlf(name)));
    if let Some(file_name) = file_name {
        let kind = media_type_of(file_name).unwrap_or("application/octet-stream");
        head.push_str(&format!("; filename=\"{}\"\r\nContent-Type: {kind}", quoted(file_name)));
    }
    [head.as_bytes(), b"\r\n\r\n", content, b"\r\n"].concat()
}

/// Returns a text with CRLF for each line break (HTML Standard, form submission).
fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
}
