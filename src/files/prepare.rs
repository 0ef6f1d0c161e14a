//! A file that was found becomes what is sent: its fields, its content, and the same for its sidecars. Called by `handler`;
//! it reads small files and judges no request.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::cache::{Kept, Limits, Room};
use super::find::FoundFile;
use super::mime::Types;
use super::negotiate::Coding;
use super::open::{self, Stamp, TICK, Time};
use super::path;
use crate::{ETag, Fields, SharedBytes};

/// Larger files are opened for each request: what is deleted gives its space back, and to open one
/// costs nothing beside sending it.
const LARGEST_HELD: u64 = 1 << 20;

/// What the fields of a file take up, about, in bytes.
const FIELDS: usize = 1024;

/// What goes with the files.
#[derive(Debug, Default)]
pub(super) struct Preparer {
    pub types: Types,
    /// Fields that a user added to every answer.
    pub added: HeaderMap,
    /// `Cache-Control` by path: the last that matches holds.
    pub caching: Vec<(String, HeaderValue)>,
}

/// A file as it is sent: as it is, and in other codings.
#[derive(Debug)]
pub(super) struct Resource {
    /// The first is the file as it is.
    variants: Vec<Variant>,
    /// Those of the others, in their order.
    pub codings: Vec<Coding>,
    state: State,
}

/// Which state of a file this is, and whether an earlier one that was given out bore the same second: then the second
/// tells nothing, and is not told.
#[derive(Clone, Copy, Debug)]
struct State {
    modified: Time,
    size: u64,
    joined: bool,
}

impl State {
    fn of(stamp: Stamp, before: Option<&Resource>) -> State {
        let (modified, size) = (stamp.modified, stamp.size);
        let joined = before.is_some_and(|Resource { state: before, .. }| {
            let other = before.modified != modified || before.size != size;
            before.modified.seconds == modified.seconds && (other || before.joined)
        });
        State { modified, size, joined }
    }
}

#[derive(Debug)]
pub(super) struct Variant {
    pub fields: Arc<Fields>,
    pub content: Content,
}

pub(super) enum Content {
    Small(SharedBytes),
    Large(Arc<File>, u64),
}

/// What a file is prepared for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be what was asked for.
    Answer,
    /// To stand in the place of what was asked for: nobody validates it.
    ErrorPage,
}

/// A resource, and whether it may be kept.
pub(super) struct Prepared {
    pub kept: Arc<Kept<Resource>>,
    pub lasting: bool,
}

impl Resource {
    pub fn plain(&self) -> &Variant {
        &self.variants[0]
    }

    /// The variant in one of its codings.
    pub fn coded(&self, coding: Coding) -> &Variant {
        let place = self.codings.iter().position(|&known| known == coding);
        &self.variants[place.map_or(0, |place| place + 1)]
    }
}

impl Preparer {
    /// `now` was read before the file was looked for; `before`: what was given out under the same name, as far as is known.
    pub fn prepare(
        &self,
        found: FoundFile,
        purpose: Purpose,
        before: Option<&Resource>,
        limits: Limits,
        poll: Option<u64>,
        now: SystemTime,
    ) -> io::Result<Prepared> {
        let FoundFile { path, file, stamp, sidecars, watched } = found;
        let state = State::of(stamp, before);
        let codings: Vec<Coding> = sidecars.iter().map(|sidecar| sidecar.coding).collect();
        let files = std::iter::once((None, file, stamp))
            .chain(sidecars.into_iter().map(|sidecar| (Some(sidecar.coding), sidecar.file, sidecar.stamp)));
        let fields = self.common_fields(&path, !codings.is_empty());
        let mut lasting = !watched.iter().any(|watched| watched.stamp.is_young(now));
        let mut room = Room { files: 1 + codings.len(), open: 0, bytes: path.len() };
        let mut variants = Vec::with_capacity(1 + codings.len());
        for (coding, file, stamp) in files {
            let (content, steady) = read(file, stamp, limits.bytes_each)?;
            let certain = steady && !stamp.is_young(now) && purpose == Purpose::Answer;
            lasting &= steady && (matches!(content, Content::Small(_)) || stamp.size <= LARGEST_HELD);
            match &content {
                Content::Small(bytes) => room.bytes += FIELDS + (**bytes).as_ref().len(),
                Content::Large(..) => room.open += 1,
            }
            variants.push(Variant {
                fields: Arc::new(variant_fields(&fields, coding, stamp, certain.then_some(state), now)),
                content,
            });
        }
        let kept = Arc::new(Kept::new(Resource { variants, codings, state }, watched, room, poll));
        Ok(Prepared { kept, lasting })
    }

    /// The fields of answers that are no files.
    pub fn other_fields(&self) -> HeaderMap {
        let mut fields = self.added.clone();
        fields.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        fields.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        fields
    }

    fn common_fields(&self, path: &[u8], negotiated: bool) -> HeaderMap {
        let mut fields = self.other_fields();
        // Types are checked where they are set.
        if let Ok(media_type) = HeaderValue::from_str(self.types.of(path::name(path))) {
            fields.insert(CONTENT_TYPE, media_type);
        }
        if let Some((_, value)) = self.caching.iter().rev().find(|(pattern, _)| matches(pattern, path)) {
            fields.insert(CACHE_CONTROL, value.clone());
        }
        if negotiated {
            fields.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        fields
    }
}

/// The fields of one variant. `state`: that of the file itself; without it there is no certainty that every change
/// will show, and there are no validators.
fn variant_fields(
    common: &HeaderMap,
    coding: Option<Coding>,
    stamp: Stamp,
    state: Option<State>,
    now: SystemTime,
) -> Fields {
    let mut fields = common.clone();
    if let Some(coding) = coding {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    let fields = Fields::from(&fields);
    let Some(state) = state else { return fields };
    let date = if coding.is_none() { dated(stamp, state, now) } else { dated_long_ago(stamp, now) };
    let fields = match date.and_then(Time::system) {
        Some(time) => fields.last_modified(time),
        None => fields,
    };
    match ETag::strong(tag(stamp, coding)) {
        Ok(tag) => fields.etag(tag),
        Err(_) => fields, // digits only: it cannot be
    }
}

/// When a file changed, to be told in whole seconds, unless another state of it was told by the same second: those who
/// ask by date alone would take one for the other.
fn dated(stamp: Stamp, state: State, now: SystemTime) -> Option<Time> {
    (!state.joined).then(|| told(stamp, now))
}

/// The same for a sidecar, of whose earlier states nothing is known: told once its second is over.
fn dated_long_ago(stamp: Stamp, now: SystemTime) -> Option<Time> {
    // The clock of the file system may be a tick behind: a change in the first moments of a second may bear the last one.
    let behind = Time::from(now.checked_sub(TICK).unwrap_or(SystemTime::UNIX_EPOCH));
    Some(told(stamp, now)).filter(|time| time.seconds < behind.seconds)
}

/// It is never in the future (RFC 9110, section 8.8.2.1): of files that claim to be, the inode knows better.
fn told(stamp: Stamp, now: SystemTime) -> Time {
    if stamp.modified > Time::from(now) { stamp.changed } else { stamp.modified }
}

/// The same on every machine that serves a copy: nothing of the disk is in it.
fn tag(stamp: Stamp, coding: Option<Coding>) -> String {
    let Time { seconds, nanos } = stamp.modified;
    let tag = format!("{:x}-{:x}{nanos:08x}", stamp.size, seconds.cast_unsigned());
    match coding {
        Some(coding) => format!("{tag}-{}", coding.name()),
        None => tag,
    }
}

/// Take small contents into memory. Whether they were steady: nobody wrote while they were read.
fn read(file: File, stamp: Stamp, small: usize) -> io::Result<(Content, bool)> {
    if stamp.size > small as u64 {
        return Ok((Content::Large(Arc::new(file), stamp.size), true));
    }
    let mut bytes = vec![0; stamp.size as usize];
    let length = read_up_to(&file, &mut bytes)?;
    let after = open::stamp_of(&file)?;
    bytes.truncate(length);
    let steady = after == stamp && length as u64 == stamp.size;
    Ok((Content::Small(Arc::new(bytes)), steady))
}

fn read_up_to(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Whether a path is meant by a pattern. `*` is any run of bytes, slashes too. A pattern that begins with a slash is
/// held against the whole path, and all that is in a folder if it ends with one; another against the name.
fn matches(pattern: &str, path: &[u8]) -> bool {
    match pattern.as_bytes() {
        [b'/', pattern @ .., b'/'] => fits(&[pattern, b"/*"].concat(), path),
        b"/" => true,
        [b'/', pattern @ ..] => fits(pattern, path),
        pattern => fits(pattern, path::name(path)),
    }
}

/// `*` takes as little as it can, and more where what follows did not fit.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after, taken)) = star {
            (p, t) = (after, taken + 1);
            star = Some((after, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Small(bytes) => write!(f, "Small({} bytes)", (**bytes).as_ref().len()),
            Content::Large(_, length) => write!(f, "Large({length} bytes)"),
        }
    }
}

/// A field that a user adds, if it may be added: what the content is, is ours to say.
pub(super) fn check_field(name: &str, value: &str) -> io::Result<(HeaderName, HeaderValue)> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let name: HeaderName = name.parse().map_err(|_| wrong(format!("{name:?} is no name of a field")))?;
    let value = value.parse().map_err(|_| wrong(format!("{value:?} is no value for the field `{name}`")))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("*.css", "style.css", true),
            ("*.css", "a/style.css", true),
            ("*.css", "style.css.gz", false),
            ("*.css", "a.css/b", false),
            ("index.html", "a/index.html", true),
            ("/index.html", "index.html", true),
            ("/index.html", "a/index.html", false),
            ("/assets/", "assets/a.js", true),
            ("/assets/", "assets/deep/a.js", true),
            ("/assets/", "assets", false),
            ("/assets/", "assets2/a.js", false),
            ("/assets/", "b/assets/a.js", false),
            ("/assets/*.js", "assets/deep/a.js", true),
            ("/a*c*e", "abcde", true),
            ("/a*c*e", "abcd", false),
            ("/a*c*e", "acxxcxexe", true),
            ("*-????", "a-1234", false),
            ("/", "anything/at/all", true),
            ("*", "anything", true),
            ("*.*", "a.b", true),
            ("*.*", "ab", false),
            ("", "a", false),
            ("**", "a", true),
        ] {
            assert_eq!(matches(pattern, path.as_bytes()), expected, "{pattern} and {path}");
        }
        let long = "a".repeat(4000);
        assert!(!fits(format!("{}b", "*a".repeat(1000)).as_bytes(), long.as_bytes()), "and soon");
    }
}
