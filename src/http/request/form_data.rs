//! HTML forms with files, `multipart/form-data` (RFC 7578; RFC 2046, section 5.1), read part by part while the body is
//! read. Called by `request`. `splitter` finds the parts, `fields` reads their heads.
//! Memory use is one buffer and the head of one part, for a body of any size.

mod fields;
mod saving; // saving parts while they arrive
mod splitter;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use http::StatusCode;

pub use self::fields::PartHead;
pub(crate) use self::saving::{FormSink, SavedForm};
pub use self::saving::{PartPlan, SavedPart};
use self::splitter::Splitter;
use super::saved_file::{SavePath, SavedFile};
use super::write_errors;
use super::{charset, file_name};
use crate::http::error::Error;

/// A form with files, `multipart/form-data`, as a sequence of parts. Made by
/// [`Request::form_data`](crate::Request::form_data).
///
/// It uses 16 KiB of memory and the head of one part, for files of any size. Bytes before the first boundary are
/// skipped, and bytes after the last one are not read. A body that two readers could understand differently is rejected
/// with 400: a line break before a boundary that is not CRLF is content. A boundary that is not followed by its line
/// end is malformed, and so is a head with a field or a parameter twice.
///
/// ```
/// use modest::{FormData, FormDataLimits};
///
/// let body = "--x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nmilk\r\n--x--\r\n";
/// let limits = FormDataLimits::default().parts(10).field(1024);
/// let mut form = FormData::new(body.as_bytes(), "multipart/form-data; boundary=x", limits)?;
/// while let Some(part) = form.next_part()? {
///     assert_eq!((part.name(), part.file_name()), ("note", None));
///     assert_eq!(part.text()?, "milk");
/// }
/// # Ok::<(), modest::Error>(())
/// ```
pub struct FormData<R> {
    splitter: Splitter<R>,
    limits: FormDataLimits,
    place: Position,
    parts: usize,
}

/// The position of the reader in the body.
#[derive(Clone, Copy, Debug)]
enum Position {
    /// In a part, or before the first one.
    Content,
    /// At the head of a part.
    Head,
    End,
}

impl<R: Read> FormData<R> {
    /// Reads the form in a body with this Content-Type. The reader is not limited here: the body of a
    /// [`Request`](crate::Request) has its own limit.
    ///
    /// # Errors
    /// 415 if the Content-Type is not `multipart/form-data`; 400 if it is malformed or has not exactly one boundary of
    /// 1 to 70 characters from RFC 2046.
    pub fn new(reader: R, content_type: &str, limits: FormDataLimits) -> Result<FormData<R>, Error> {
        let boundary = fields::boundary(content_type).map_err(bad_request)?.ok_or_else(|| {
            Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected a form with files: multipart/form-data")
        })?;
        Ok(FormData { splitter: Splitter::new(reader, &boundary), limits, place: Position::Content, parts: 0 })
    }

    /// Returns the next part, in the order sent; `None` after the last. Unread content of the previous part is skipped.
    ///
    /// # Errors
    /// 400 if the body is malformed or ends before its last boundary, or if a part has no name, has a field twice, or
    /// has a head that is too long; 413 if there are too many parts; 415 if a part is in a transfer coding such as
    /// `base64`, which RFC 7578 deprecates; 500 if the reader fails. After a 400, 413 or 415 there are no more parts:
    /// each further call returns that error.
    pub fn next_part(&mut self) -> Result<Option<Part<'_, R>>, Error> {
        loop {
            match self.place {
                Position::Content => {
                    self.splitter.skip_content()?;
                    let last = self.splitter.pass_delimiter(self.limits.head)?;
                    self.place = if last { Position::End } else { Position::Head };
                }
                Position::Head => {
                    let head = self.head()?;
                    self.place = Position::Content;
                    return Ok(Some(Part { head, splitter: &mut self.splitter, field_limit: self.limits.field }));
                }
                Position::End => return Ok(None),
            }
        }
    }

    /// Parses the head of a part. Consumes it only if it is valid, so that each further call returns the error again.
    fn head(&mut self) -> Result<PartHead, Error> {
        if self.parts >= self.limits.parts {
            return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, "the form has too many parts"));
        }
        let length = self.splitter.head(self.limits.head)?;
        let head = PartHead::parse(self.splitter.peek(length), |line| self.splitter.is_delimiter(line));
        let head = head.map_err(bad_request)?;
        if head.encoded {
            let message = "a part of the form is in a transfer coding";
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        self.splitter.pass_head(length)?;
        self.parts += 1;
        Ok(head)
    }
}

impl PartHead {
    /// Returns the path of the part in a folder, by the rules of [`Part::save_in`].
    fn path_in(&self, folder: &Path) -> SavePath {
        SavePath::in_folder(folder, self.safe_file_name().as_deref().unwrap_or("file"))
    }

    /// Returns the content of the part, decoded from UTF-8.
    fn text<T>(&self, decoded: Option<T>) -> Result<T, Error> {
        charset::text(self.content_type(), decoded, "a field of the form")
    }
}

fn bad_request(message: &'static str) -> Error {
    Error::new(StatusCode::BAD_REQUEST, message)
}

/// One part of a form: a field, or a file if it has a [`file_name`](Part::file_name). Its content can be read once, by
/// [`text`](Part::text), [`bytes`](Part::bytes), [`save`](Part::save) or as a [`Read`]. Each of them continues where
/// the one before stopped.
///
/// As a `Read` it ends where the part ends. If the body ends before its last boundary, `Read` returns
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), which `?` turns into a 400.
pub struct Part<'a, R> {
    head: PartHead,
    splitter: &'a mut Splitter<R>,
    field_limit: usize,
}

impl<R: Read> Part<'_, R> {
    /// See [`PartHead::name`].
    pub fn name(&self) -> &str {
        self.head.name()
    }

    /// See [`PartHead::file_name`].
    pub fn file_name(&self) -> Option<&str> {
        self.head.file_name()
    }

    /// See [`PartHead::safe_file_name`]. A file of that name may exist; [`save`](Part::save) does not overwrite it.
    pub fn safe_file_name(&self) -> Option<String> {
        self.head.safe_file_name()
    }

    /// See [`PartHead::content_type`].
    pub fn content_type(&self) -> Option<&str> {
        self.head.content_type()
    }

    /// Returns the content, up to `limit` bytes.
    ///
    /// # Errors
    /// 413 if it is longer; 400 if the body ends before its last boundary; 500 if the reader fails.
    pub fn bytes(mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        self.for_each_piece(|piece| {
            if piece.len() > limit - all.len() {
                return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, "a part of the form is too large"));
            }
            all.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(all)
    }

    /// Returns the content as text, up to [`FormDataLimits::field`] bytes.
    ///
    /// # Errors
    /// 413 if it is longer; 400 if it is not UTF-8 or the body ends before its last boundary; 415 if its Content-Type
    /// has a charset other than UTF-8 (or ASCII); 500 if the reader fails.
    pub fn text(self) -> Result<String, Error> {
        let (limit, head) = (self.field_limit, self.head.clone());
        head.text(String::from_utf8(self.bytes(limit)?).ok())
    }

    /// Writes the content to a new file, and returns its length in bytes. Nothing is overwritten, and no symbolic link
    /// is followed. The file has this name only when it is complete. If writing fails, nothing stays. The length of the
    /// file is limited only by the length of the body. The file is not synced.
    ///
    /// # Errors
    /// 409 if that name exists; 400 if the body ends before its last boundary; 507 if the disk is full; 503 if the
    /// system has no descriptor or memory left; 500 if the file cannot be written or the reader fails.
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<u64, Error> {
        let path = SavePath::at(path.as_ref().to_owned()).map_err(write_errors::of_file)?;
        Ok(self.save_as(path)?.0)
    }

    /// Saves the content in this folder, under its [`safe_file_name`](Part::safe_file_name), or `file` if it has none.
    /// If that name exists, the file gets a free number: `photo-1.jpg`, `photo-2.jpg` and so on. Returns the path: the
    /// folder as given, and the name.
    ///
    /// ```
    /// use modest::{FormData, FormDataLimits};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let body = "--x\r\nContent-Disposition: form-data; name=\"p\"; filename=\"a.jpg\"\r\n\r\n...\r\n--x--\r\n";
    /// for saved in ["a.jpg", "a-1.jpg", "a-2.jpg"] {
    ///     let mut form = FormData::new(body.as_bytes(), "multipart/form-data; boundary=x", FormDataLimits::default())?;
    ///     let mut part = form.next_part()?.unwrap();
    ///     assert_eq!(part.save_in(folder.path())?, folder.path().join(saved));
    /// }
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// If a thousand files have the name, about twenty names are checked.
    ///
    /// # Errors
    /// The errors of [`save`](Part::save). 409 only if a hundred names that were free were taken before the file got
    /// them.
    pub fn save_in(&mut self, folder: impl AsRef<Path>) -> Result<PathBuf, Error> {
        Ok(self.save_as(self.head.path_in(folder.as_ref()))?.1)
    }

    fn save_as(&mut self, path: SavePath) -> Result<(u64, PathBuf), Error> {
        let (file, mut length) = (SavedFile::create(path).map_err(write_errors::of_file)?, 0);
        self.for_each_piece(|piece| {
            length += piece.len() as u64;
            (&file.file).write_all(piece).map_err(write_errors::of_file)
        })?;
        Ok((length, file.complete().map_err(write_errors::of_file)?))
    }

    fn for_each_piece(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            let piece = self.splitter.content()?;
            if piece.is_empty() {
                return Ok(());
            }
            take(piece)?;
            let count = piece.len();
            self.splitter.consume(count);
        }
    }
}

impl<R: Read> Read for Part<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.splitter.content()?.read(buffer)?;
        self.splitter.consume(count);
        Ok(count)
    }
}

/// Limits for [`FormData`] and [`BodyPlan::save_form`](crate::BodyPlan::save_form). The body has its own:
/// [`Http::body_limit`](crate::Http::body_limit).
#[derive(Clone, Debug)]
pub struct FormDataLimits {
    parts: usize,
    head: usize,
    field: usize,
}

impl Default for FormDataLimits {
    fn default() -> FormDataLimits {
        FormDataLimits { parts: 1000, head: 8 * 1024, field: 64 * 1024 }
    }
}

impl FormDataLimits {
    /// Sets the maximum number of parts. Default: 1,000. A form with more gets 413.
    pub fn parts(mut self, number: usize) -> FormDataLimits {
        self.parts = number;
        self
    }

    /// Sets the maximum length of a part's head, in bytes with all line breaks. Default: 8 KiB. A form with a longer
    /// head gets 400: a 431 would mean that the fields of the request are too long. No browser sends such a part.
    ///
    /// It also limits the buffer, which is 16 KiB unless a longer head needs more.
    pub fn head(mut self, bytes: usize) -> FormDataLimits {
        self.head = bytes;
        self
    }

    /// Sets how much content [`Part::text`] accepts, and how much all [kept](crate::PartPlan::keep) parts of a form can
    /// have together, in bytes. Default: 64 KiB. Longer content gets 413.
    pub fn field(mut self, bytes: usize) -> FormDataLimits {
        self.field = bytes;
        self
    }
}

opaque!(FormData<R> { place, parts });

/// Shows the head only, because the content may be secret.
impl<R> fmt::Debug for Part<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head.fmt(f)
    }
}

#[cfg(test)]
mod tests;
