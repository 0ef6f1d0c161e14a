//! The error type of handlers: a status, a message for the client, a cause for the log. Created by handlers (mostly by
//! `?`) and by `http` itself. `response` turns it into a page. The cause is never sent to the client.

use std::any::Any;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, OnceLock};
use std::{fmt, io};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::rejection::Rejection;
use crate::tcp::Contained;
use crate::words::reason;

type Cause = Arc<dyn std::error::Error + Send + Sync + 'static>;

fn contained(cause: Cause) -> Contained<Cause> {
    Contained::new("dropping the cause of an error", cause)
}

/// A failed request: a status, a message for the client, and a cause for the log.
///
/// `?` converts any error into a 500 with the error as the logged cause. Therefore this type is not itself a
/// [`std::error::Error`]. `?` also converts it into an [`io::Error`] or a `Box<dyn std::error::Error>`, for `main` and
/// tests. [`OrStatus`] gives another status to any error and to `None`:
///
/// ```
/// use modest::{OrStatus, Request, Response, Result};
///
/// fn price(request: &Request) -> Result<Response> {
///     let words: u32 = request.parse_param("words")?; // missing or not a number: 400, with the reason
///     let price = words.checked_mul(2).or_status(422)?; // `None`: 422
///     let footer = std::fs::read_to_string("footer.txt")?; // an error: 500, and the reason is logged
///     let legal = std::fs::read_to_string("legal.txt").or_status(503)?; // an error: 503, and the reason is logged
///     Ok(Response::text(format!("{price} cents\n{footer}{legal}")))
/// }
/// ```
///
/// For an error type that does not implement `std::error::Error`, `impl From<MyError> for modest::Error` sets the
/// status. For types that do, `?` gives a 500; use `or_status` for another status.
///
/// There is no conversion from a `StatusCode`, because the one from any error excludes it: write `Error::new(404, "")`.
///
/// An error with a status below 400 is a response that is returned early, for example from
/// [`Layer::before_body`](crate::Layer::before_body): a redirect with its `Location`, a 204 or a 304. Without a message
/// it has no body.
///
/// Clones share their data, and their page is created once. If a handler returns an error often, keep the error and
/// return clones.
#[doc(alias("send_error", "HTTPError", "abort"))]
#[must_use = "is sent only if it is returned"]
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    status: StatusCode,
    message: Option<String>,
    fields: Vec<FieldError>,
    /// Whether the message was generated from the field errors.
    message_is_of_fields: bool,
    headers: HeaderMap,
    cause: Option<Contained<Cause>>,
    /// The pages made from it, shared by all clones.
    pages: OnceLock<Arc<Pages>>,
}

pub(crate) const MAX_FAULTS: usize = 20;

/// One page per type, as an `Option`: `None` if there is no page of this type.
type Pages = [OnceLock<Box<dyn Any + Send + Sync>>; 3];

/// The pages are never changed through a reference, so they can be used after a panic.
impl UnwindSafe for Error {}
impl RefUnwindSafe for Error {}

impl Error {
    /// Creates an error with this status and a message for the client. An empty message means none.
    ///
    /// A number that is not a final status (below 200 or above 599: RFC 9110, section 15) is a mistake in the handler.
    /// It becomes a 500, and is logged.
    pub fn new(status: impl TryInto<StatusCode, Error: Into<http::Error>>, message: impl Into<String>) -> Error {
        match status.try_into() {
            Ok(status) => Error::of(status, Some(message.into()).filter(|message| !message.is_empty()), None),
            Err(error) => Error::of(StatusCode::INTERNAL_SERVER_ERROR, None, Some(Arc::new(error.into()))),
        }
    }

    /// Returns a 404 for a path at which there is nothing.
    pub(crate) fn no_such_name() -> Error {
        Error::new(StatusCode::NOT_FOUND, "There is nothing with that name here.")
    }

    /// Converts the error for functions that return a boxed `std::error::Error` that is `Send + Sync`. Where it need
    /// not be, `?` converts the error.
    pub fn into_boxed(self) -> Box<dyn std::error::Error + Send + Sync> {
        self.to_string().into()
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns the message for the client, if there is one.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// Returns the message, or the status's reason phrase if there is none. Empty for a status without a reason phrase.
    ///
    /// ```
    /// use modest::Error;
    ///
    /// assert_eq!(Error::new(404, "There is no note 7.").message_or_reason(), "There is no note 7.");
    /// assert_eq!(Error::new(413, "").message_or_reason(), "Content Too Large");
    /// ```
    pub fn message_or_reason(&self) -> &str {
        self.message().or(reason(self.status())).unwrap_or_default()
    }

    /// Returns the cause, for the log.
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.cause.as_deref().map(|cause| &**cause)
    }

    /// Returns the fields of the response, such as `Allow` or `Retry-After`.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// Sets a field of the response, in place of fields with the same name. An invalid name or value turns the error
    /// into a 500 whose cause names the invalid field.
    pub fn with_header(
        self,
        name: impl TryInto<HeaderName, Error: Into<http::Error>>,
        value: impl TryInto<HeaderValue, Error: Into<http::Error>>,
    ) -> Error {
        self.with_field(parse_field(name, value), true)
    }

    /// Adds a field to the response. Fields with the same name are kept.
    pub fn with_added_header(
        self,
        name: impl TryInto<HeaderName, Error: Into<http::Error>>,
        value: impl TryInto<HeaderValue, Error: Into<http::Error>>,
    ) -> Error {
        self.with_field(parse_field(name, value), false)
    }

    /// Replaces all fields of the response.
    pub fn with_headers(mut self, headers: HeaderMap) -> Error {
        self.change().headers = headers;
        self
    }

    /// Adds the fields whose names the error does not have yet.
    pub(crate) fn with_missing_headers(mut self, headers: &HeaderMap) -> Error {
        let missing: Vec<_> = headers.iter().filter(|(name, _)| !self.headers().contains_key(*name)).collect();
        let of_page = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_SECURITY_POLICY];
        for (name, value) in missing.into_iter().filter(|(name, _)| !of_page.contains(*name)) {
            self.change().headers.append(name.clone(), value.clone());
        }
        self
    }

    /// Adds a fault of one field of the input. If the error has no message of its own, its message lists all faults.
    ///
    /// ```
    /// use modest::Error;
    ///
    /// let error = Error::new(422, "").with_field_error("name", "is taken").with_field_error("email", "has no @");
    /// assert_eq!(error.message(), Some("name: is taken; email: has no @"));
    /// assert_eq!(error.field_errors()[1].field(), "email");
    /// ```
    ///
    /// An error lists the first 20 faults, so that no input causes a long response. If there are more, one more entry
    /// has an empty field and the message `and more`.
    pub fn with_field_error(mut self, field: impl Into<String>, message: impl Into<String>) -> Error {
        let inner = self.change();
        let fault = match inner.fields.len() {
            ..MAX_FAULTS => FieldError::new(field, message),
            MAX_FAULTS => FieldError::new("", "and more"),
            _ => return self,
        };
        match &mut inner.message {
            Some(list) if inner.message_is_of_fields => list.push_str(&format!("; {fault}")),
            Some(_) => {}
            None => (inner.message, inner.message_is_of_fields) = (Some(fault.to_string()), true),
        }
        inner.fields.push(fault);
        self
    }

    /// Returns the faults of single fields: those added by [`with_field_error`](Error::with_field_error), and those
    /// that [`Request::query_as`](crate::Request::query_as), `form_as` and `json_as` have found.
    /// [`JsonErrors`](crate::layers::JsonErrors) sends them as the member `errors`.
    pub fn field_errors(&self) -> &[FieldError] {
        &self.0.fields
    }

    #[cfg(feature = "json")]
    pub(crate) fn of_fields(status: StatusCode, faults: Vec<FieldError>) -> Error {
        let add = |error: Error, fault: FieldError| error.with_field_error(fault.field, fault.message);
        faults.into_iter().fold(Error::of(status, None, None), add)
    }

    /// Sets the message for the client. An empty one counts as none, as in [`Error::new`].
    ///
    /// ```
    /// assert_eq!(modest::Error::new(404, "gone").with_message("").message(), None);
    /// ```
    pub fn with_message(mut self, message: impl Into<String>) -> Error {
        let inner = self.change();
        (inner.message, inner.message_is_of_fields) = (Some(message.into()).filter(|it| !it.is_empty()), false);
        self
    }

    /// Sets the cause, for the log.
    pub fn with_cause(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>) -> Error {
        self.change().cause = Some(contained(cause.into().into()));
        self
    }

    /// Removes the cause, so that the error is not logged.
    #[cfg(feature = "proxy")]
    pub(crate) fn without_cause(mut self) -> Error {
        self.change().cause = None;
        self
    }

    /// Converts the error as `io::Error::from` does, with this kind.
    pub(crate) fn into_io(self, kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, InIo(self))
    }

    /// Returns the error from which this one was converted.
    pub(crate) fn of_io(error: &io::Error) -> Option<Error> {
        error.get_ref()?.downcast_ref().map(|InIo(error)| error.clone())
    }

    fn with_field(mut self, field: Result<(HeaderName, HeaderValue), Error>, replaces: bool) -> Error {
        match field {
            Ok((name, value)) if replaces => _ = self.change().headers.insert(name, value),
            Ok((name, value)) => _ = self.change().headers.append(name, value),
            Err(error) => return error,
        }
        self
    }

    fn of(status: StatusCode, message: Option<String>, cause: Option<Cause>) -> Error {
        let (headers, pages) = (HeaderMap::new(), OnceLock::new());
        let (fields, message_is_of_fields) = (Vec::new(), false);
        let cause = cause.map(contained);
        Error(Arc::new(Inner { status, message, fields, message_is_of_fields, headers, cause, pages }))
    }

    /// Returns the data for a change: copied if clones share it, and without pages.
    fn change(&mut self) -> &mut Inner {
        let inner = Arc::make_mut(&mut self.0);
        inner.pages.take();
        inner
    }

    /// Returns the page of this type, which is created once for the error and all its clones. `None` if there are no
    /// clones, if `make` returns `None`, or if there are already pages of three other types.
    pub(crate) fn shared_page<T: Send + Sync + 'static>(&self, make: impl Fn() -> Option<T>) -> Option<&T> {
        if Arc::strong_count(&self.0) == 1 {
            return None; // the error is unlikely to be returned again
        }
        let mut pages = self.0.pages.get_or_init(Arc::default).iter();
        pages.find_map(|page| page.get_or_init(|| Box::new(make())).downcast_ref::<Option<T>>())?.as_ref()
    }
}

/// An error in one field of a query, a form or a JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    field: String,
    message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), message: message.into() }
    }

    /// Returns the name of the field. In JSON it includes the path: `address.city`, `items[2].price`. Empty if the
    /// fault is in the whole input.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Returns what is wrong, as a message for users.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Displays name and message, as in `limit: expected a whole number`.
impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

/// Gives a status to errors: `find(id).or_status(404)?`.
///
/// The client gets only the status, and the message of an [`Error`]. Any other error is the logged cause.
/// [`Error::with_message`] adds a message: `.or_status(404).map_err(|error| error.with_message("no such note"))?`.
pub trait OrStatus<T> {
    /// Returns the value, or an [`Error`] with this status.
    ///
    /// # Errors
    /// If there is no value.
    fn or_status(self, status: impl TryInto<StatusCode, Error: Into<http::Error>>) -> Result<T, Error>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync + 'static>>> OrStatus<T> for Result<T, E> {
    fn or_status(self, status: impl TryInto<StatusCode, Error: Into<http::Error>>) -> Result<T, Error> {
        self.map_err(|cause| Error::new(status, "").with_cause(cause))
    }
}

impl<T> OrStatus<T> for Option<T> {
    fn or_status(self, status: impl TryInto<StatusCode, Error: Into<http::Error>>) -> Result<T, Error> {
        self.ok_or_else(|| Error::new(status, ""))
    }
}

/// Replaces the status of an error. Its message and its cause stay.
impl<T> OrStatus<T> for Result<T, Error> {
    fn or_status(self, status: impl TryInto<StatusCode, Error: Into<http::Error>>) -> Result<T, Error> {
        self.map_err(|mut error| match status.try_into() {
            Ok(status) => {
                error.change().status = status;
                error
            }
            Err(no_status) => Error::from(Box::<dyn std::error::Error + Send + Sync>::from(no_status.into())),
        })
    }
}

/// Any error is a 500 whose message is logged and never sent to the client. An [`io::Error`] that was converted from an
/// `Error` becomes that error again, with its status. An [`io::Error`] that the client causes while a streamed body is
/// read ([`BodyPlan::stream`](crate::BodyPlan::stream)) also keeps its status.
impl<E: Into<Box<dyn std::error::Error + Send + Sync + 'static>>> From<E> for Error {
    fn from(cause: E) -> Error {
        let cause = cause.into();
        let same = cause.downcast_ref().and_then(Error::of_io);
        same.unwrap_or_else(|| Error::of(StatusCode::INTERNAL_SERVER_ERROR, None, Some(cause.into())))
    }
}

/// A rejection for lack of capacity gets a `Retry-After`.
impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Error {
        let error = Error::new(rejection.status, rejection.message);
        match rejection.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => {
                error.with_header(header::RETRY_AFTER, "1")
            }
            _ => error,
        }
    }
}

/// For functions that return an [`io::Error`], such as those of a reader or a writer. If a handler returns the result,
/// or if a writer of [`BodyPlan::save_to`](crate::BodyPlan::save_to) does, this error becomes the response.
///
/// ```
/// use std::io;
/// use modest::Error;
///
/// fn check(free: u64) -> io::Result<()> {
///     if free == 0 { Err(Error::new(507, "The tape is full.").into()) } else { Ok(()) }
/// }
///
/// let error = Error::from(check(0).unwrap_err());
/// assert_eq!((error.status().as_u16(), error.message()), (507, Some("The tape is full.")));
/// ```
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        error.into_io(io::ErrorKind::Other)
    }
}

/// For `?` in a `main` that returns `Result<(), Box<dyn std::error::Error>>`. For a boxed error that is also
/// `Send + Sync`, use [`Error::into_boxed`].
///
/// ```
/// use modest::OrStatus;
///
/// fn check(code: Option<u8>) -> Result<u8, Box<dyn std::error::Error>> {
///     Ok(code.or_status(404)?)
/// }
/// assert_eq!(check(None).unwrap_err().to_string(), "404 Not Found");
/// ```
impl From<Error> for Box<dyn std::error::Error> {
    fn from(error: Error) -> Box<dyn std::error::Error> {
        io::Error::from(error).into()
    }
}

#[derive(Debug)]
struct InIo(Error);

impl std::error::Error for InIo {}

impl fmt::Display for InIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// For the log: the status, the message, and the chain of causes.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.status)?;
        let mut behind = self.cause().map(|cause| cause as &dyn std::error::Error);
        if let Some(message) = self.message() {
            let is_last = behind.is_none();
            write!(f, ": {}", if is_last { message } else { message.trim_end_matches('.') })?;
        }
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
            .field("cause", &self.cause())
            .finish()
    }
}

/// Returns a valid field name and value, or an error with the reason.
pub(crate) fn parse_field(
    name: impl TryInto<HeaderName, Error: Into<http::Error>>,
    value: impl TryInto<HeaderValue, Error: Into<http::Error>>,
) -> Result<(HeaderName, HeaderValue), Error> {
    let name = name.try_into().map_err(|error| Error::from(format!("a response field: {}", error.into())))?;
    match value.try_into() {
        Ok(value) => Ok((name, value)),
        Err(error) => Err(Error::from(format!("the response field `{name}`: {}", error.into()))),
    }
}
