//! The pages of errors: the default page, and a store for the pages of errors that are returned often.

use std::marker::PhantomData;
use std::sync::Arc;

use http::StatusCode;

use super::Response;
use super::body::ResponseBody;
use super::fields::{self, Fields};
use crate::http::error::Error;
use crate::http::status;
use crate::tcp::SharedBytes;

/// The page of an error, with the error's status and fields: status, reason and message, but not the cause.
impl From<&Error> for Response {
    fn from(error: &Error) -> Response {
        struct Plain;
        Response::shared_page::<Plain>(error, || plain(error).with_error(error))
    }
}

fn plain(error: &Error) -> Response {
    match error.status() {
        status if status::has_no_content(status) => Response::new(status),
        status if status.as_u16() < 400 && error.message().is_none() => Response::new(status),
        status => Response::html(status::page(status, error.message())),
    }
}

impl Response {
    /// Returns a page that depends only on the error, with the error's status. If the error has clones, the page is
    /// created once for all of them. `Form` distinguishes it from other pages of the same error.
    pub(crate) fn shared_page<Form: 'static>(error: &Error, make: impl Fn() -> Response) -> Response {
        match error.shared_page(|| Page::<Form>::of(make())) {
            Some(page) => page.response(error.status()),
            None => make(),
        }
    }

    /// Completes the page of an error: adds the status, unless the page has one of its own, and fields such as `Allow`.
    pub(crate) fn completed_by(mut self, error: &Error) -> Response {
        if self.status == StatusCode::OK {
            self = self.with_status(error.status());
        }
        for name in error.headers().keys() {
            if self.header_value(name.as_str()).is_none() {
                for value in error.headers().get_all(name) {
                    self = self.with_added_header(name, value);
                }
            }
        }
        self
    }
}

/// A response that is sent repeatedly.
struct Page<Form> {
    fields: Arc<Fields>,
    bytes: SharedBytes,
    close: bool,
    form: PhantomData<fn(Form)>,
}

impl<Form> Page<Form> {
    /// `None` if the response has more than these parts.
    fn of(response: Response) -> Option<Self> {
        let is_plain = response.deferred_error.is_none()
            && response.declared_length().is_none()
            && !response.own.iter().any(|(name, _)| fields::is_server_managed(name));
        let fields = Arc::new(Fields::from(response.headers()));
        match response.body.into_shared() {
            ResponseBody::Shared(bytes) if is_plain => {
                let bytes = bytes.into_inner();
                Some(Page { fields, bytes, close: response.close, form: PhantomData })
            }
            _ => None,
        }
    }

    fn response(&self, status: StatusCode) -> Response {
        let response = Response::shared(Arc::clone(&self.bytes)).with_fields(Arc::clone(&self.fields));
        Response { close: self.close, ..response.with_status(status) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::error::OrStatus;

    fn shown(response: &Response) -> Vec<String> {
        response.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn errors_are_shown_as_pages() {
        let error = Error::new(401, "who?")
            .with_header("www-authenticate", "Basic")
            .with_added_header("www-authenticate", "Digest");
        let page = Response::from(&error.with_cause("secret"));
        assert_eq!((page.status().as_u16(), page.headers().get_all("www-authenticate").iter().count()), (401, 2));
        let text = String::from_utf8(page.into_bytes().unwrap()).unwrap();
        assert!(text.contains("who?") && !text.contains("secret"), "{text}");
        let own = Response::from(&Error::new(400, "no").with_header("content-type", "text/x"));
        assert_eq!(shown(&own), ["content-type: text/x"]);
        let any: Error = "nothing".parse::<u8>().unwrap_err().into();
        assert_eq!((any.status().as_u16(), any.message()), (500, None));
        assert_eq!(any.to_string(), "500 Internal Server Error: invalid digit found in string");
        assert_eq!(
            Error::new(400, "no").with_header("a", "\n").status(),
            500,
            "a field that can't be sent makes the error a 500"
        );
        assert_eq!(Error::new(99, "no").status(), 500, "an invalid status makes the error a 500");
    }

    #[test]
    fn cloned_errors_have_the_same_page() {
        let make = || Error::new(404, "no <note>").with_header("x-a", "1").with_added_header("vary", "b");
        for (row, error) in [
            ("fields", make()),
            ("its type", make().with_header("content-type", "text/x")),
            ("no content", Error::new(204, "").with_header("x-a", "1")),
            ("a field that has a meaning", Error::new(426, "").with_header("upgrade", "x")),
            ("an end", make().with_header("connection", "close")),
        ] {
            let alone = Response::from(&error);
            let shared = error.clone();
            for (time, page) in [Response::from(&error), Response::from(&shared)].into_iter().enumerate() {
                assert_eq!(page.status(), alone.status(), "{row}, {time}");
                assert_eq!(shown(&page), shown(&alone), "{row}, {time}");
                assert_eq!(page.body_in_memory(), alone.body_in_memory(), "{row}, {time}");
                assert_eq!(page.close, alone.close, "{row}, {time}");
            }
            let other = Response::from(&Err::<(), _>(shared.with_message("other")).or_status(410).unwrap_err());
            assert_eq!(other.status(), 410, "{row}: a clone that was changed has its own page");
        }
    }
}
