//! The methods of a `StaticFileHandler` that write. `uploads` handles them; the fields of every response are added
//! here. Called by `handler`.

use http::header::{ALLOW, LINK};
use http::{HeaderValue, Method, StatusCode};

use super::super::uploads::{UploadHandler, UploadRequest};
use super::pages::accepts_html;
use super::{READING, StaticFileHandler};
use crate::{Error, Request, Response, Result};

impl StaticFileHandler {
    /// Returns the handler of changes, if the folder accepts any. A single file accepts none.
    pub(super) fn accepted(&self) -> Option<&UploadHandler> {
        self.upload_handler.as_deref().filter(|_| self.only.is_none())
    }

    /// Handles a request that changes the folder, if its method does.
    pub(super) fn upload_handler(&self, request: &Request) -> Option<&UploadHandler> {
        self.accepted().filter(|uploads| uploads.takes(self.webdav, request))
    }

    pub(super) fn upload_request<'a>(&'a self, request: &'a Request) -> UploadRequest<'a> {
        let held = self.cache.limits.bytes_each;
        let (mount, webdav) = (self.mount(request), self.webdav);
        UploadRequest {
            request,
            conditions: request,
            finder: &self.finder,
            preparer: &self.preparer,
            held,
            mount,
            webdav,
        }
    }

    pub(super) fn change(&self, request: &Request) -> Result<Response> {
        if self.webdav && request.method().as_str() == "PROPFIND" {
            return self.properties(request);
        }
        match self.upload_handler(request) {
            Some(upload_handler) => match upload_handler.respond(self.upload_request(request)) {
                Ok(response) => Ok(self.with_default_fields(response)),
                Err(error) => Err(self.refusal_of_change(request, error)),
            },
            None => Err(self.unsupported_method(request)),
        }
    }

    /// Adds the fields that all responses have, and a link from the error of a form back to its folder.
    pub(super) fn refusal_of_change(&self, request: &Request, error: Error) -> Error {
        let is_form = request.method() == Method::POST && request.raw_path().ends_with('/');
        let error = self.refusal(error);
        match is_form && self.link_up && accepts_html(request) {
            true => error.with_added_header(LINK, "<./>; rel=\"up\""),
            false => error,
        }
    }

    pub(super) fn refusal(&self, error: Error) -> Error {
        let mut fields = self.preparer.default_fields();
        if error.status() == StatusCode::METHOD_NOT_ALLOWED {
            fields.extend(HeaderValue::try_from(self.allowed()).map(|allowed| (ALLOW, allowed)));
        }
        fields.extend(error.headers().clone());
        error.with_headers(fields)
    }

    pub(super) fn allowed(&self) -> String {
        let changing = self.accepted().map(|uploads| uploads.methods(self.webdav)).unwrap_or_default();
        let properties: &[&str] = if self.webdav { &["PROPFIND"] } else { &[] };
        [&READING, &changing[..], properties].concat().join(", ")
    }
}
