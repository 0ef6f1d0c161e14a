//! What a handler answers with when it cannot answer: a status, a word to the client, a cause for the log.
//! Made by handlers (mostly by `?`) and by floor 2's own refusals; turned into a page by `response`.
//! The cause never reaches the client.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a request is not answered as asked: a status, a word to the client, and a cause for the log.
///
/// `?` makes one of any error: 500 to the client, the cause to the log. It is therefore no
/// [`std::error::Error`] itself; [`into_boxed`](Error::into_boxed) makes one of it, for `main` and tests.
///
/// To give errors of your own their statuses, write `impl From<MyError> for modest::Error`, and leave
/// `std::error::Error` out: whatever implements that is a 500 by `?` already.
///
/// ```
/// use modest::{Error, Request, Response, Result};
///
/// fn price(request: &Request) -> Result<Response> {
///     let words = request.param("words").ok_or_else(|| Error::new(400, "say how many: ?words=3"))?;
///     let words: u32 = words.parse()?; // not a number: 500, and the log hears why
///     Ok(Response::text(format!("{} cents\n", words * 2)))
/// }
/// ```
#[must_use = "is answered only if it is returned"]
pub struct Error(Box<Inner>);

struct Inner {
    status: StatusCode,
    message: Option<String>,
    headers: HeaderMap,
    cause: Option<Cause>,
}

impl Error {
    /// An error with this status and a message that the client gets to read (an empty one is none).
    ///
    /// A number that is no status (below 100, above 999) is a mistake of the handler: it becomes a 500
    /// and says so in its cause. So does a status that is no answer (1xx) once it is to be sent.
    pub fn new<S>(status: S, message: impl Into<String>) -> Error
    where
        S: TryInto<StatusCode>,
        S::Error: Into<http::Error>,
    {
        match status.try_into() {
            Ok(status) => Error::of(status, Some(message.into()).filter(|message| !message.is_empty()), None),
            Err(error) => Error::of(StatusCode::INTERNAL_SERVER_ERROR, None, Some(Box::new(error.into()))),
        }
    }

    /// As an error that functions outside of handlers can return.
    pub fn into_boxed(self) -> Box<dyn std::error::Error + Send + Sync> {
        self.to_string().into()
    }

    /// The status.
    pub fn status_code(&self) -> StatusCode {
        self.0.status
    }

    /// What the client is told, if anything beyond the status.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// What the log is told: the error behind this one.
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.cause.as_deref()
    }

    /// The fields that go with the answer, such as `Allow` or `Retry-After`.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// Add a field to the answer. A name or value that cannot be sent turns the error into a 500 that says so in its cause.
    pub fn header<N, V>(mut self, name: N, value: V) -> Error
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        match parse_field(name, value) {
            Ok((name, value)) => {
                self.0.headers.append(name, value);
                self
            }
            Err(error) => error,
        }
    }

    /// Say what is behind it, for the log.
    pub fn with_cause(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>) -> Error {
        self.0.cause = Some(cause.into());
        self
    }

    fn of(status: StatusCode, message: Option<String>, cause: Option<Cause>) -> Error {
        Error(Box::new(Inner { status, message, headers: HeaderMap::new(), cause }))
    }
}

/// Any error is a 500 whose cause goes to the log and never to the client.
impl<E: Into<Box<dyn std::error::Error + Send + Sync + 'static>>> From<E> for Error {
    fn from(cause: E) -> Error {
        Error::of(StatusCode::INTERNAL_SERVER_ERROR, None, Some(cause.into()))
    }
}

/// For the log: the status, the message, and the cause with what is behind it.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.status)?;
        if let Some(message) = self.message() {
            write!(f, ": {message}")?;
        }
        let mut behind = self.0.cause.as_deref().map(|cause| cause as &dyn std::error::Error);
        while let Some(cause) = behind {
            write!(f, ": {cause}")?;
            behind = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("status", &self.0.status)
            .field("message", &self.0.message)
            .field("headers", &self.0.headers)
            .field("cause", &self.0.cause)
            .finish()
    }
}

/// A name and a value that may be sent, or a fault that says what is wrong with them.
pub(crate) fn parse_field<N, V>(name: N, value: V) -> Result<(HeaderName, HeaderValue), Error>
where
    N: TryInto<HeaderName>,
    N::Error: Into<http::Error>,
    V: TryInto<HeaderValue>,
    V::Error: Into<http::Error>,
{
    let name = name.try_into().map_err(|error| Error::from(format!("a response field: {}", error.into())))?;
    match value.try_into() {
        Ok(value) => Ok((name, value)),
        Err(error) => Err(Error::from(format!("the response field `{name}`: {}", error.into()))),
    }
}
