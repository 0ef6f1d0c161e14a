//! What a handler returns when it fails: a status, a message for the client, a cause for the log.
//! Created by handlers (mostly by `?`) and by `http` itself; turned into a page by `response`.
//! The cause is never sent to the client.

use std::any::TypeId;
use std::{fmt, io};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::rejection::Rejection;

type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A failed request: a status, a message for the client, and a cause for the log.
///
/// `?` converts any error: 500 for the client, the error as the cause for the log. It is therefore not a
/// [`std::error::Error`] itself; [`into_boxed`](Error::into_boxed) converts it into one, for `main` and tests.
///
/// To give your own errors a status, write `impl From<MyError> for modest::Error`, and do not implement
/// `std::error::Error` for them: `?` turns whatever implements that into a 500.
///
/// ```
/// use modest::{Error, Request, Response, Result};
///
/// fn price(request: &Request) -> Result<Response> {
///     let words = request.param("words").ok_or_else(|| Error::new(400, "say how many: ?words=3"))?;
///     let words: u32 = words.parse()?; // not a number: 500, and the cause is logged
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
    /// The default `do_` method that made this error: its handler's type, and its name.
    unwritten_method: Option<(TypeId, &'static str)>,
}

impl Error {
    /// An error with this status and a message for the client (empty: none).
    ///
    /// A number that is no status (below 100, above 999) is a mistake in the handler: it becomes a 500 with that
    /// as its cause. So does an interim status (1xx) when it is to be sent.
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

    /// Convert it for functions that return a `std::error::Error`.
    pub fn into_boxed(self) -> Box<dyn std::error::Error + Send + Sync> {
        self.to_string().into()
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The message for the client, if there is one.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// The cause, for the log.
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.cause.as_deref()
    }

    /// The fields of the response, such as `Allow` or `Retry-After`.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// Add a field to the response. An invalid name or value turns the error into a 500 with that as its cause.
    pub fn with_header<N, V>(mut self, name: N, value: V) -> Error
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

    /// Set the cause, for the log.
    pub fn with_cause(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>) -> Error {
        self.0.cause = Some(cause.into());
        self
    }

    pub(crate) fn of_unwritten_method(mut self, handler: TypeId, method: &'static str) -> Error {
        self.0.unwritten_method = Some((handler, method));
        self
    }

    pub(crate) fn unwritten_method(&self) -> Option<(TypeId, &'static str)> {
        self.0.unwritten_method
    }

    /// Of one for want of room it is said when to come again.
    pub(crate) fn from_rejection(rejection: Rejection) -> Error {
        let error = Error::new(rejection.status, rejection.message);
        if rejection.is_for_want_of_room() { error.with_header(header::RETRY_AFTER, "1") } else { error }
    }

    fn of(status: StatusCode, message: Option<String>, cause: Option<Cause>) -> Error {
        let (headers, unwritten_method) = (HeaderMap::new(), None);
        Error(Box::new(Inner { status, message, headers, cause, unwritten_method }))
    }
}

/// Any error is a 500 whose message is logged and never sent to the client; but that of reading a body while it comes
/// ([`BodyPlan::stream`](crate::BodyPlan::stream)), where it is the client's fault, has its own status.
impl<E: Into<Box<dyn std::error::Error + Send + Sync + 'static>>> From<E> for Error {
    fn from(cause: E) -> Error {
        let cause = cause.into();
        match cause.downcast_ref().and_then(rejection_in) {
            Some(rejection) => Error::from_rejection(rejection),
            None => Error::of(StatusCode::INTERNAL_SERVER_ERROR, None, Some(cause)),
        }
    }
}

fn rejection_in(err: &io::Error) -> Option<Rejection> {
    err.get_ref()?.downcast_ref().copied()
}

/// For the log: the status, the message, and the chain of causes.
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

/// A valid field name and value, or an error that says what is wrong with them.
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
