//! Errors as JSON, for clients that are programs.

use serde_json::{Map, Value, json};

use crate::words::reason;
use crate::{Error, FieldError, Layer, Request, Response};

/// Sends each error as `application/problem+json` (RFC 9457, "Problem Details"): errors of the handler, unknown paths,
/// and errors of the server, such as a body over the limit, an invalid head, or overload.
///
/// | member | |
/// | --- | --- |
/// | `status` | the status, as a number |
/// | `title` | the reason phrase of the status; left out if it has none |
/// | `detail` | [`Error::message`]; left out if there is none |
/// | `errors` | [`Error::field_errors`], each with its `field` and `message`; left out if there are none |
/// | `request_id` | [`Request::id`]; left out without [`RequestIds`](super::RequestIds), and if no head could be read |
///
/// Fields such as `Allow` stay. An inner handler with pages of its own ([`RequestHandler::error_response`]) keeps them.
/// A response with a status of 400 or above that is not an error stays unchanged.
///
/// [`RequestHandler::error_response`]: crate::RequestHandler::error_response
///
/// ```
/// use modest::layers::JsonErrors;
/// use modest::{Error, Http, Request, RequestHandler, handler_fn};
///
/// let app = handler_fn(|_| Err(Error::new(404, "there is no note 7")));
/// let sent = Http::new(app.layer(JsonErrors)).respond(&Request::get("/notes/7"));
/// assert_eq!(sent.header("content-type"), Some("application/problem+json"));
/// assert_eq!(sent.text(), r#"{"detail":"there is no note 7","status":404,"title":"Not Found"}"#);
/// ```
///
/// Around a whole handler, the layer applies to all paths. With [`Routes::layer`](crate::Routes::layer) it applies to
/// these routes only, and other pages are unaffected.
#[derive(Clone, Copy, Debug)]
#[doc(alias("problem", "RFC 9457", "RFC 7807"))]
pub struct JsonErrors;

impl Layer for JsonErrors {
    fn error_response(&self, request: Option<&Request>, error: &Error) -> Option<Response> {
        let mut problem = Map::from_iter([("status".to_owned(), Value::from(error.status().as_u16()))]);
        for (name, text) in [
            ("title", reason(error.status()).map(str::to_owned)),
            ("detail", error.message().map(str::to_owned)),
            ("request_id", request.and_then(Request::id)),
        ] {
            problem.extend(text.map(|text| (name.to_owned(), Value::from(text))));
        }
        if !error.field_errors().is_empty() {
            let fault = |fault: &FieldError| json!({ "field": fault.field(), "message": fault.message() });
            problem.insert("errors".to_owned(), error.field_errors().iter().map(fault).collect());
        }
        Some(Response::json(&problem).with_content_type("application/problem+json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::RequestIds;
    use crate::testing::TestRequest;
    use crate::{Method, RequestHandler, handler_fn, testing};

    /// Each error contains the request id, in either order of the layers, even if no handler was called.
    #[test]
    fn each_error_has_the_id_of_its_request() {
        let app = || handler_fn(|_| Err(Error::new(404, "")));
        let servers = [
            testing::serve(app().layer(JsonErrors).layer(RequestIds::new())),
            testing::serve(app().layer(RequestIds::new()).layer(JsonErrors)),
        ];
        for server in &servers {
            for (request, status) in [
                (TestRequest::new(Method::GET, "/"), 404),
                (TestRequest::new(Method::GET, "/").with_header("expect", "x"), 417),
                (TestRequest::new(Method::GET, "/").with_header("host", "a b"), 400),
                (TestRequest::new(Method::GET, "/a%00"), 400),
                (TestRequest::new(Method::POST, "/").with_header("transfer-encoding", "squeezed"), 400),
                (TestRequest::new(Method::POST, "/").with_header("content-length", "99999999999"), 413),
            ] {
                let sent = server.send(request);
                let problem: Value = sent.json();
                let id = problem["request_id"].as_str();
                assert_eq!(sent.status(), status, "{sent:?}");
                assert!(id.is_some() && id == sent.header("x-request-id"), "{sent:?}");
            }
        }
    }
}
