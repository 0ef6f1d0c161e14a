//! Methods that return the body of a request as bytes, text, a form or JSON, and check its media type.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;

use http::StatusCode;

use super::body::BodyReader;
use super::form::Form;
use super::form_data::{FormData, FormDataLimits, SavedForm, SavedPart};
use super::{Request, charset, write_errors};
use crate::http::error::Error;

/// Reading the body.
impl Request {
    /// Returns the body's bytes: borrowed while they are in memory, otherwise read from the temporary file.
    ///
    /// # Errors
    /// 500 if the temporary file cannot be read. A streamed body is received completely first, so it can also fail with
    /// the errors of [`BodyPlan::stream`](crate::BodyPlan::stream), or with 507 if there is no room for it.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        Ok(self.body.bytes()?)
    }

    /// Returns the body as text.
    ///
    /// # Errors
    /// 415 if its Content-Type has a charset other than UTF-8 (or ASCII), 400 if it is not valid UTF-8, and the errors
    /// of [`bytes`](Request::bytes).
    pub fn text(&self) -> Result<Cow<'_, str>, Error> {
        let decoded = match self.bytes()? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
        };
        charset::text(self.header("content-type"), decoded, "the body")
    }

    /// Gives the body a name on the disk, and returns its length in bytes. A spooled body is hard-linked, not copied:
    /// see [`Body::persist`](crate::Body::persist).
    ///
    /// ```
    /// use modest::{Request, Response, Result};
    ///
    /// fn upload(request: &Request) -> Result<Response> {
    ///     request.persist(std::env::temp_dir().join("a-name-of-your-own"))?; // 409 if the file exists
    ///     Ok(Response::new(201))
    /// }
    /// # let name = std::env::temp_dir().join("a-name-of-your-own");
    /// # _ = std::fs::remove_file(&name);
    /// # assert_eq!(upload(&Request::post("/", "hello"))?.status(), 201);
    /// # assert_eq!(upload(&Request::post("/", "hello")).unwrap_err().status(), 409);
    /// # std::fs::remove_file(&name)?;
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// # Errors
    /// 409 if the name exists, 507 if the disk is full, 503 if the system has no descriptor or memory left, 500 if the
    /// file cannot be written. A streamed body can also fail with the errors of [`bytes`](Request::bytes).
    pub fn persist(&self, path: impl AsRef<Path>) -> Result<u64, Error> {
        self.body.persist(path).map_err(write_errors::of_file)?;
        Ok(self.body.len())
    }

    /// Returns a reader of the body from its first byte (Python's `rfile`). Reading a stream waits for the client: see
    /// [`BodyPlan::stream`](crate::BodyPlan::stream).
    #[doc(alias = "rfile")]
    pub fn reader(&self) -> BodyReader<'_> {
        self.body.reader()
    }

    /// Returns whether the body's Content-Type is this media type, with any parameters, for handlers that accept
    /// several types.
    ///
    /// ```
    /// use modest::Request;
    ///
    /// let request = Request::post("/", "a=b").with_header("content-type", "Application/JSON; charset=utf-8");
    /// assert!(request.has_media_type("application/json"));
    /// ```
    pub fn has_media_type(&self, media_type: &str) -> bool {
        self.media_type().is_some_and(|found| found.eq_ignore_ascii_case(media_type))
    }

    /// Parses the body as an HTML form, `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// 415 if it has another type, 413 if it has more than 10,000 fields, 400 if it is malformed: a percent sign
    /// without two hexadecimal digits, or bytes that are not UTF-8. So the text of a form is what the client has
    /// encoded, without replacement characters. Also the errors of [`bytes`](Request::bytes).
    pub fn form(&self) -> Result<Form, Error> {
        if !self.has_media_type("application/x-www-form-urlencoded") {
            let wanted = "expected a form: application/x-www-form-urlencoded";
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted));
        }
        Form::decode(&self.bytes()?)
    }

    /// Reads the body as an HTML form with files, `multipart/form-data`, part by part. Each call begins with the first
    /// part, unless the body is a stream, which is read once. For other limits use [`FormData::new`] with the
    /// [`reader`](Request::reader).
    ///
    /// ```
    /// use modest::{Request, Response, Result};
    ///
    /// fn upload(request: &Request) -> Result<Response> {
    ///     let mut form = request.form_data()?;
    ///     while let Some(mut part) = form.next_part()? {
    ///         match (part.name(), part.safe_file_name()) {
    ///             ("title", None) => println!("{}", part.text()?), // up to 64 KiB
    ///             ("photo", Some(name)) => {
    ///                 part.save(std::env::temp_dir().join(name))?; // 409 if the file exists
    ///             }
    ///             _ => {} // skipped
    ///         }
    ///     }
    ///     Ok(Response::text("Thank you.\n"))
    /// }
    ///
    /// let body = "--x\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA day\r\n--x--\r\n";
    /// let request = Request::post("/", body).with_header("content-type", "multipart/form-data; boundary=x");
    /// assert_eq!(upload(&request)?.status(), 200);
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// # Errors
    /// 415 if it has another type, 400 if its boundary is missing or malformed, 500 if the body is a stream of which a
    /// part has been read. Later errors are returned by [`next_part`](FormData::next_part).
    pub fn form_data(&self) -> Result<FormData<BodyReader<'_>>, Error> {
        let content_type = self.header("content-type").unwrap_or_default();
        let form = FormData::new(self.reader(), content_type, FormDataLimits::default())?;
        self.body.expect_unread()?;
        Ok(form)
    }

    /// Returns the parts of a form that was written while it arrived, in the order sent. Their files get their names
    /// now, all or none, and belong to the handler: see [`BodyPlan::save_form`](crate::BodyPlan::save_form).
    ///
    /// # Errors
    /// 409 if the name of a file is taken; 507 if the disk is full; 500 if it can't get its name. 415 if a request
    /// without a body has a type other than `multipart/form-data`, or none; 400 if the form ends before its last
    /// boundary; 500 if [`BodyPlan::save_form`](crate::BodyPlan::save_form) was not called for the request.
    pub fn saved_form(&self) -> Result<Vec<SavedPart>, Error> {
        self.planned_form()?.take()
    }

    /// Returns the parts like [`saved_form`](Request::saved_form), but the files do not get their names. Use it to
    /// check the fields of a form first: the files of a form that is rejected are never visible.
    ///
    /// # Errors
    /// The errors of [`saved_form`](Request::saved_form) that are not about files.
    pub fn peek_form(&self) -> Result<Vec<SavedPart>, Error> {
        self.planned_form()?.peek()
    }

    fn planned_form(&self) -> Result<Arc<SavedForm>, Error> {
        let unplanned = || io::Error::other("this form was not saved while it arrived (`BodyPlan::save_form`)");
        Ok(self.value::<SavedForm>().ok_or_else(unplanned)?)
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// 415 if the Content-Type is missing, or is not `application/json` or `…+json`. (A page of another site can make a
    /// browser send any bytes with cookies, but not with this type.) 400, with the reason, if the JSON is malformed or
    /// cannot be read as a `T`. [`json_as`](Request::json_as) reports all invalid values, each with its field. Also the
    /// errors of [`bytes`](Request::bytes).
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        self.expect_json()?;
        serde_json::from_slice(&self.bytes()?).map_err(|error| super::typed::malformed(&error))
    }

    #[cfg(feature = "json")]
    pub(super) fn expect_json(&self) -> Result<(), Error> {
        let is_json = |media_type: &str| {
            media_type.eq_ignore_ascii_case("application/json")
                || media_type.len() > 5 && media_type.as_bytes()[media_type.len() - 5..].eq_ignore_ascii_case(b"+json")
        };
        if !self.media_type().is_some_and(is_json) {
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected JSON: application/json"));
        }
        Ok(())
    }

    fn media_type(&self) -> Option<&str> {
        self.header("content-type").map(|value| value.split(';').next().unwrap_or_default().trim())
    }
}
