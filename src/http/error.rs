//! What a handler returns when it fails: a status, a message for the client, a cause for the log.
//! Created by handlers (mostly by `?`) and by `http` itself; turned into a page by `response`.
//! The cause is never sent to the client.

use std::any::Any;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, OnceLock};
use std::{fmt, io};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::rejection::Rejection;

use super::status;

type Cause = Arc<dyn std::error::Error + Send + Sync + 'static>;

/// A failed request: a status, a message for the client, and a cause for the log.
///
/// `?` converts any error: 500 for the client, the error as the cause for the log. It is therefore not a
/// [`std::error::Error`] itself; [`into_boxed`](Error::into_boxed) converts it into one, for `main` and tests.
/// Another status is given by [`OrStatus`], to any error and to `None`:
///
/// ```
/// use modest::{OrStatus, Request, Response, Result};
///
/// fn price(request: &Request) -> Result<Response> {
///     let words: u32 = request.parse("words")?; // none, or no number: 400, and the client is told why
///     let price = words.checked_mul(2).or_status(422)?; // `None`: 422
///     let footer = std::fs::read_to_string("footer.txt")?; // an error: 500, and the log hears why
///     let legal = std::fs::read_to_string("legal.txt").or_status(503)?; // an error: 503, and the log hears why
///     Ok(Response::text(format!("{price} cents\n{footer}{legal}")))
/// }
/// ```
///
/// Errors of your own get their statuses once and for all by `impl From<MyError> for modest::Error`, if they do not
/// implement `std::error::Error`: `?` turns whatever does into a 500. Those that do take `or_status`.
///
/// One with a status below 400 is a response that is returned early, from [`Layer::before_body`](crate::Layer::before_body) say:
/// a redirect with its `Location`, a 204 or a 304. It has no page, and is in no other way an error.
///
/// Clones share what they hold, and their page is made once: a handler that often answers the same keeps one.
#[doc(alias("send_error", "HTTPError", "abort"))]
#[must_use = "is answered only if it is returned"]
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    status: StatusCode,
    message: Option<String>,
    headers: HeaderMap,
    cause: Option<Cause>,
    /// What was made of it to be sent, for all clones.
    pages: OnceLock<Arc<Pages>>,
}

/// A page for each type that one was made of: `None` in it if none can be.
type Pages = [OnceLock<Box<dyn Any + Send + Sync>>; 3];

/// It is read and displayed, never changed behind a reference: a handler that keeps one can be used after a panic.
impl UnwindSafe for Error {}
impl RefUnwindSafe for Error {}

impl Error {
    /// An error with this status and a message for the client (empty: none).
    ///
    /// A number that is no final status (below 200, above 599: RFC 9110, section 15) is a mistake in the handler: it
    /// becomes a 500, and the log hears of it.
    pub fn new<S>(status: S, message: impl Into<String>) -> Error
    where
        S: TryInto<StatusCode>,
        S::Error: Into<http::Error>,
    {
        match status.try_into() {
            Ok(status) => Error::of(status, Some(message.into()).filter(|message| !message.is_empty()), None),
            Err(error) => Error::of(StatusCode::INTERNAL_SERVER_ERROR, None, Some(Arc::new(error.into()))),
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

    /// What to tell people: the message, or what the status is called if there is none. It may be empty, for a status
    /// without a name.
    ///
    /// ```
    /// use modest::Error;
    ///
    /// assert_eq!(Error::new(404, "There is no note 7.").message_or_reason(), "There is no note 7.");
    /// assert_eq!(Error::new(413, "").message_or_reason(), "Content Too Large");
    /// ```
    pub fn message_or_reason(&self) -> &str {
        self.message().or(status::reason(self.status())).unwrap_or_default()
    }

    /// The cause, for the log.
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.cause.as_deref()
    }

    /// The fields of the response, such as `Allow` or `Retry-After`.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The same with this field in the response, in the place of any of that name. An invalid name or value turns the
    /// error into a 500 with that as its cause.
    pub fn with_header<N, V>(self, name: N, value: V) -> Error
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.with_field(parse_field(name, value), |headers, (name, value)| _ = headers.insert(name, value))
    }

    /// The same with this field in the response, beside others of that name.
    pub fn with_added_header<N, V>(self, name: N, value: V) -> Error
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.with_field(parse_field(name, value), |headers, (name, value)| _ = headers.append(name, value))
    }

    /// The same with these fields in the response, in the place of those that were set.
    pub fn with_headers(mut self, headers: HeaderMap) -> Error {
        self.change().headers = headers;
        self
    }

    /// The same with those of these fields that it has not.
    pub(crate) fn with_missing_headers(mut self, headers: &HeaderMap) -> Error {
        let missing: Vec<_> = headers.iter().filter(|(name, _)| !self.headers().contains_key(*name)).collect();
        let of_page = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_SECURITY_POLICY];
        for (name, value) in missing.into_iter().filter(|(name, _)| !of_page.contains(*name)) {
            self.change().headers.append(name.clone(), value.clone());
        }
        self
    }

    /// The same with this message for the client.
    pub fn with_message(mut self, message: impl Into<String>) -> Error {
        self.change().message = Some(message.into());
        self
    }

    /// The same with this cause, for the log.
    pub fn with_cause(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>) -> Error {
        self.change().cause = Some(cause.into().into());
        self
    }

    /// Of one for want of room it is said when to come again.
    pub(crate) fn from_rejection(rejection: Rejection) -> Error {
        let error = Error::new(rejection.status, rejection.message);
        if rejection.is_for_want_of_room() { error.with_header(header::RETRY_AFTER, "1") } else { error }
    }

    fn with_field(
        mut self,
        field: Result<(HeaderName, HeaderValue), Error>,
        put: impl FnOnce(&mut HeaderMap, (HeaderName, HeaderValue)),
    ) -> Error {
        match field {
            Ok(field) => {
                put(&mut self.change().headers, field);
                self
            }
            Err(error) => error,
        }
    }

    fn of(status: StatusCode, message: Option<String>, cause: Option<Cause>) -> Error {
        let (headers, pages) = (HeaderMap::new(), OnceLock::new());
        Error(Arc::new(Inner { status, message, headers, cause, pages }))
    }

    /// Of its own, without pages.
    fn change(&mut self) -> &mut Inner {
        let inner = Arc::make_mut(&mut self.0);
        inner.pages.take();
        inner
    }

    /// Its page of this type, made once for it and its clones. `None`: there are no clones, `make` makes none, or there
    /// are pages of too many types.
    pub(crate) fn shared_page<T: Send + Sync + 'static>(&self, make: impl Fn() -> Option<T>) -> Option<&T> {
        if Arc::strong_count(&self.0) == 1 {
            return None; // it will hardly be answered again
        }
        let mut pages = self.0.pages.get_or_init(Arc::default).iter();
        pages.find_map(|page| page.get_or_init(|| Box::new(make())).downcast_ref::<Option<T>>())?.as_ref()
    }
}

/// A status for what went wrong: `find(id).or_status(404)?`.
///
/// The client is told the status alone; the error, if there is one, is the cause, for the log.
/// [`Error::with_message`] adds a message: `.or_status(404).map_err(|error| error.with_message("no such note"))?`.
pub trait OrStatus<T> {
    /// The value, or an [`Error`] with this status.
    ///
    /// # Errors
    /// If there is no value.
    fn or_status<S>(self, status: S) -> Result<T, Error>
    where
        S: TryInto<StatusCode>,
        S::Error: Into<http::Error>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync + 'static>>> OrStatus<T> for Result<T, E> {
    fn or_status<S>(self, status: S) -> Result<T, Error>
    where
        S: TryInto<StatusCode>,
        S::Error: Into<http::Error>,
    {
        self.map_err(|cause| Error::new(status, "").with_cause(cause))
    }
}

impl<T> OrStatus<T> for Option<T> {
    fn or_status<S>(self, status: S) -> Result<T, Error>
    where
        S: TryInto<StatusCode>,
        S::Error: Into<http::Error>,
    {
        self.ok_or_else(|| Error::new(status, ""))
    }
}

/// An error that has a status already gets another; its message and its cause stay.
impl<T> OrStatus<T> for Result<T, Error> {
    fn or_status<S>(self, status: S) -> Result<T, Error>
    where
        S: TryInto<StatusCode>,
        S::Error: Into<http::Error>,
    {
        self.map_err(|mut error| match status.try_into() {
            Ok(status) => {
                error.change().status = status;
                error
            }
            Err(no_status) => Error::from(Box::<dyn std::error::Error + Send + Sync>::from(no_status.into())),
        })
    }
}

/// Any error is a 500 whose message is logged and never sent to the client; but that of reading a body while it comes
/// ([`BodyPlan::stream`](crate::BodyPlan::stream)), where it is the client's fault, has its own status.
impl<E: Into<Box<dyn std::error::Error + Send + Sync + 'static>>> From<E> for Error {
    fn from(cause: E) -> Error {
        let cause = cause.into();
        match cause.downcast_ref().and_then(rejection_in) {
            Some(rejection) => Error::from_rejection(rejection),
            None => Error::of(StatusCode::INTERNAL_SERVER_ERROR, None, Some(cause.into())),
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
