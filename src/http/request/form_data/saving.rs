//! Forms with files that are written part by part while they arrive, without holding a worker: `BodyPlan::save_form`.
//! The body is written to a [`FormSink`]. Its results are stored in the request as a [`SavedForm`] until the handler
//! takes them.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http::StatusCode;

use super::super::saved_file::SavePath;
use super::super::saved_files::{FormFile, SavedFiles};
use super::super::stored::Destination;
use super::super::write_errors;
use super::fields::PartHead;
use super::{FormData, FormDataLimits};
use crate::http::error::Error;
use crate::mutex::lock;

/// The decision about a part of a form, returned by the function of
/// [`BodyPlan::save_form`](crate::BodyPlan::save_form).
#[derive(Debug)]
pub struct PartPlan(Plan);

enum Plan {
    Keep,
    Skip,
    Save(PathBuf),
    SaveIn(PathBuf),
    Write(Box<dyn Write + Send>),
}

impl PartPlan {
    /// Keeps the content in memory. The kept parts of a form can have up to [`FormDataLimits::field`] bytes together; a
    /// form with more gets 413.
    pub fn keep() -> PartPlan {
        PartPlan(Plan::Keep)
    }

    /// Drops the content.
    pub fn skip() -> PartPlan {
        PartPlan(Plan::Skip)
    }

    /// Writes the content to a new file, which gets its name when the handler calls
    /// [`Request::saved_form`](crate::Request::saved_form). If the name exists at the beginning of the part, the form
    /// gets 409; if it exists later, `saved_form` returns a 409.
    pub fn save(path: impl Into<PathBuf>) -> PartPlan {
        PartPlan(Plan::Save(path.into()))
    }

    /// Writes the content to a new file in this folder, under a free name, as [`Part::save_in`](crate::Part::save_in)
    /// does. The file gets its name at the same time as for [`save`](PartPlan::save).
    pub fn save_in(folder: impl Into<PathBuf>) -> PartPlan {
        PartPlan(Plan::SaveIn(folder.into()))
    }

    /// Writes the content to this writer, which is flushed and dropped at the end of the part. Its errors have the same
    /// statuses as those of [`BodyPlan::save_to`](crate::BodyPlan::save_to).
    pub fn write_to(writer: impl Write + Send + 'static) -> PartPlan {
        PartPlan(Plan::Write(Box::new(writer)))
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Plan::Keep => f.write_str("Keep"),
            Plan::Skip => f.write_str("Skip"),
            Plan::Save(path) => f.debug_tuple("Save").field(path).finish(),
            Plan::SaveIn(folder) => f.debug_tuple("SaveIn").field(folder).finish(),
            Plan::Write(_) => f.write_str("Write"),
        }
    }
}

/// A part of a form that has arrived: [`Request::saved_form`](crate::Request::saved_form).
#[derive(Clone, Debug)]
pub struct SavedPart {
    head: PartHead,
    kept: Option<Arc<[u8]>>,
    path: Option<PathBuf>,
    length: u64,
}

impl SavedPart {
    /// Returns the name, file name and media type of the part.
    pub fn head(&self) -> &PartHead {
        &self.head
    }

    /// Returns the content as text, if it was [kept](PartPlan::keep).
    ///
    /// # Errors
    /// 400 if it is not UTF-8 or was not kept; 415 if its Content-Type has a charset other than UTF-8 (or ASCII).
    pub fn text(&self) -> Result<&str, Error> {
        self.head.text(self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok()))
    }

    /// Returns the content, if it was [kept](PartPlan::keep).
    pub fn bytes(&self) -> Option<&[u8]> {
        self.kept.as_deref()
    }

    /// Returns the file that the content was saved to, if it has its name
    /// ([`Request::saved_form`](crate::Request::saved_form)).
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns the length of the content in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Returns whether it has no content.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// The parts of a form that have arrived. Stored in the request.
#[derive(Clone, Default)]
pub(crate) struct SavedForm(Arc<Mutex<Saved>>);

#[derive(Default)]
struct Saved {
    /// Each part, and the number of its file.
    parts: Vec<(SavedPart, Option<usize>)>,
    files: SavedFiles,
    is_whole: bool,
    error: Option<Error>,
}

impl SavedForm {
    /// Returns the parts of a request that has no form.
    pub(crate) fn rejected(error: Error) -> SavedForm {
        let saved = SavedForm::default();
        lock(&saved.0).error = Some(error);
        saved
    }

    /// Returns all parts. A part in a file has a path only if the file was [named](SavedForm::take).
    pub(crate) fn peek(&self) -> Result<Vec<SavedPart>, Error> {
        let mut saved = lock(&self.0);
        saved.check()?;
        Ok(saved.parts())
    }

    /// Returns all parts. Gives the files their final names.
    pub(crate) fn take(&self) -> Result<Vec<SavedPart>, Error> {
        let mut saved = lock(&self.0);
        saved.check()?;
        let paths = saved.files.complete().map_err(write_errors::of_file)?;
        for (part, file) in &mut saved.parts {
            if let Some(number) = file.take() {
                part.path = paths.get(number).cloned();
            }
        }
        Ok(saved.parts())
    }
}

impl Saved {
    fn check(&mut self) -> Result<(), Error> {
        match self.error.take() {
            Some(error) => Err(error),
            None if self.is_whole => Ok(()),
            None => Err(super::bad_request(super::splitter::ENDS_EARLY)),
        }
    }

    fn parts(&self) -> Vec<SavedPart> {
        self.parts.iter().map(|(part, _)| part.clone()).collect()
    }
}

/// A reader of the bytes that have arrived and are not split yet. If there are none, reading fails, except at the end
/// of the body.
struct Feed {
    bytes: Vec<u8>,
    ended: bool,
    /// Whether reading has failed because no bytes were left.
    is_starved: bool,
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() && !self.ended {
            self.is_starved = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = (&self.bytes[..]).read(buffer)?;
        self.bytes.drain(..count);
        Ok(count)
    }
}

enum Target {
    Nowhere,
    Memory(Vec<u8>),
    File(FormFile),
    Writer(Box<dyn Write + Send>),
}

/// The limit of the bytes of names and types, per part of a form. The heads of all parts stay in memory until the form
/// is complete, so their sum is limited, not the length of each head.
const HEAD: usize = 128;

type Planning = Box<dyn FnMut(&PartHead) -> Result<PartPlan, Error> + Send>;

/// A writer for the bytes of a form. It splits the form and writes the parts.
pub(crate) struct FormSink {
    form: FormData<Feed>,
    plan: Planning,
    part: Option<(PartHead, Target, u64)>,
    /// How many more bytes of content can be kept in memory. `may_name`: how many more bytes of heads.
    may_keep: usize,
    may_name: usize,
    saved: SavedForm,
}

impl FormSink {
    /// # Errors
    /// The errors of [`FormData::new`].
    pub(crate) fn new(
        content_type: &str,
        limits: FormDataLimits,
        plan: Planning,
    ) -> Result<(FormSink, SavedForm), Error> {
        let feed = Feed { bytes: Vec::new(), ended: false, is_starved: false };
        let (may_keep, saved) = (limits.field, SavedForm::default());
        let may_name = limits.parts.saturating_mul(HEAD).max(limits.head);
        let form = FormData::new(feed, content_type, limits)?;
        Ok((FormSink { form, plan, part: None, may_keep, may_name, saved: saved.clone() }, saved))
    }

    /// Splits the bytes that have arrived.
    fn go_on(&mut self) -> Result<(), Error> {
        loop {
            let went_on = match self.part.is_some() {
                true => self.write_content(),
                false => self.begin_part(),
            };
            let is_starved = std::mem::take(&mut self.form.splitter.reader.is_starved);
            match went_on {
                Ok(true) => {}
                Ok(false) => {
                    lock(&self.saved.0).is_whole = true;
                    self.form.splitter.reader.bytes.clear(); // bytes after the last boundary are ignored
                    return Ok(());
                }
                Err(_) if is_starved => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns false if there are no more parts.
    fn begin_part(&mut self) -> Result<bool, Error> {
        let Some(part) = self.form.next_part()? else { return Ok(false) };
        let head = part.head;
        let left = self.may_name.checked_sub(head.memory());
        self.may_name =
            left.ok_or_else(|| Error::new(StatusCode::PAYLOAD_TOO_LARGE, "the names in the form are too long"))?;
        let target = match (self.plan)(&head)?.0 {
            Plan::Keep => Target::Memory(Vec::new()),
            Plan::Skip => Target::Nowhere,
            Plan::Save(path) => self.file(SavePath::at(path))?,
            Plan::SaveIn(folder) => self.file(Ok(head.path_in(&folder)))?,
            Plan::Write(writer) => Target::Writer(writer),
        };
        self.part = Some((head, target, 0));
        Ok(true)
    }

    fn file(&self, path: io::Result<SavePath>) -> Result<Target, Error> {
        let created = path.and_then(|path| lock(&self.saved.0).files.create(path));
        Ok(Target::File(created.map_err(write_errors::of_file)?))
    }

    fn write_content(&mut self) -> Result<bool, Error> {
        let Some((_, target, length)) = &mut self.part else { return Ok(true) };
        let piece = self.form.splitter.content()?;
        let count = piece.len();
        if count == 0 {
            self.end_part()?;
            return Ok(true);
        }
        match target {
            Target::Nowhere => {}
            Target::Memory(kept) => {
                self.may_keep = self
                    .may_keep
                    .checked_sub(count)
                    .ok_or_else(|| Error::new(StatusCode::PAYLOAD_TOO_LARGE, "the fields of the form are too large"))?;
                kept.extend_from_slice(piece);
            }
            Target::File(file) => (&file.file).write_all(piece).map_err(write_errors::of_file)?,
            Target::Writer(writer) => writer.write_all(piece).map_err(write_errors::of_writer)?,
        }
        *length += count as u64;
        self.form.splitter.consume(count);
        Ok(true)
    }

    fn end_part(&mut self) -> Result<(), Error> {
        let Some((head, target, length)) = self.part.take() else { return Ok(()) };
        let mut saved = lock(&self.saved.0);
        let (kept, file) = match target {
            Target::Memory(kept) => (Some(Arc::from(kept)), None),
            Target::File(file) => (None, Some(saved.files.keep(file).map_err(write_errors::of_file)?)),
            Target::Nowhere => (None, None),
            Target::Writer(mut writer) => {
                writer.flush().map_err(write_errors::of_writer)?;
                (None, None)
            }
        };
        saved.parts.push((SavedPart { head, kept, path: None, length }, file));
        Ok(())
    }
}

impl Write for FormSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.form.splitter.reader.bytes.extend_from_slice(bytes);
        self.go_on()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A form that is malformed or cut is an error of the request, before its handler is called.
impl Destination for FormSink {
    fn end(&mut self) -> io::Result<()> {
        self.form.splitter.reader.ended = true; // the last boundary can be the end of the body
        Ok(self.go_on()?)
    }
}

#[cfg(test)]
mod tests;
