//! PROPPATCH (RFC 4918, section 9.2): properties that clients set on files, such as the times that Windows stores. They
//! are an extended attribute of the file, so they are moved and deleted with it. Called by `uploads`; `handler` sends
//! them in PROPFIND.

use std::os::fd::AsFd;

use http::StatusCode;
use roxmltree::Node;
use rustix::io::Errno;

use super::super::listing::multistatus::{END, START};
use super::super::{dav, sys, xml};
use super::conditions::check_conditions;
use super::responses::location_of;
use super::target::{self, Target};
use super::{UploadHandler, UploadRequest};
use crate::{Error, Response};

/// The maximum length of all properties of a file, in bytes. Most file systems can store an attribute of this length.
const LONGEST: usize = 3 << 10;

pub(in super::super) fn of(file: impl AsFd) -> String {
    let mut bytes = vec![0; LONGEST + 1];
    let length = sys::read_properties(file, &mut bytes).unwrap_or_default();
    bytes.truncate(length);
    // Other programs can also write the attribute, so it is checked.
    let text = String::from_utf8(bytes).unwrap_or_default();
    if xml::parse(whole(&text).as_bytes()).is_ok() { text } else { String::new() }
}

pub(super) fn copy(from: impl AsFd, to: impl AsFd) {
    let properties = of(from);
    if !properties.is_empty() {
        let _ = sys::write_properties(to, properties.as_bytes()); // the file is complete without its properties
    }
}

impl UploadHandler {
    pub(super) fn change_properties(&self, asked: UploadRequest<'_>) -> Result<Response, Error> {
        let path = target::resolve(asked)?;
        if path.bytes.is_empty() {
            return Err(Error::new(StatusCode::FORBIDDEN, "Properties can only be set for files."));
        }
        let target = asked.target(&path.bytes)?;
        let _lock = self.hold_name(&target)?;
        let existing = super::changes::existing(asked, &target)?;
        check_conditions(asked, &target, Some(existing))?;
        self.check_locks(asked, &target, Some(existing))?;
        let body = asked.request.body().bytes()?;
        let document = xml::parse(&body)?;
        let changes = changes(document.root_element())?;
        let statuses = if changes.iter().any(|(_, property)| is_protected(*property)) {
            // If one change fails, none is made (section 9.2).
            changes.iter().map(|(_, property)| if is_protected(*property) { 403 } else { 424 }).collect()
        } else {
            vec![self.apply(asked, &target, &changes)?; changes.len()]
        };
        let href = location_of(asked, target.path(), path.trailing_slash);
        Ok(dav::multistatus(described(&href, changes.iter().map(|(_, property)| *property).zip(statuses))))
    }

    /// Makes these changes. Returns the status of each of them.
    fn apply(&self, asked: UploadRequest<'_>, target: &Target, changes: &[(bool, Node<'_, '_>)]) -> Result<u16, Error> {
        let (before, file) = match target.open_for_properties() {
            Ok(file) => (of(&file), file),
            Err(errno) => return Ok(status_of(errno)),
        };
        let Some(text) = changed(&before, changes).filter(|text| text.len() <= LONGEST) else {
            return Ok(status_of(Errno::NOSPC));
        };
        // All properties of a file take one block of the disk.
        let is_block_added = before.is_empty() && !text.is_empty();
        let held = is_block_added.then(|| self.hold(asked.request, None)).transpose()?;
        if is_block_added {
            self.check_room(target.folder(), 0)?;
        }
        if let Err(errno) = sys::write_properties(&file, text.as_bytes()) {
            return Ok(status_of(errno));
        }
        held.iter().for_each(|held| held.keep(0));
        Ok(200)
    }
}

/// Returns the properties to set (true) or to remove (false), in order.
fn changes<'a, 'i>(update: Node<'a, 'i>) -> Result<Vec<(bool, Node<'a, 'i>)>, Error> {
    if !xml::is_dav(update, "propertyupdate") {
        return Err(Error::new(StatusCode::BAD_REQUEST, "Expected a propertyupdate element."));
    }
    let mut changes = Vec::new();
    for step in update.children().filter(Node::is_element) {
        let sets = xml::is_dav(step, "set");
        if !sets && !xml::is_dav(step, "remove") {
            continue; // unknown elements are ignored (section 17)
        }
        let properties = xml::child(step, "prop").into_iter().flat_map(|prop| prop.children().filter(Node::is_element));
        changes.extend(properties.map(|property| (sets, property)));
    }
    Ok(changes)
}

/// Returns whether clients can't set this property. WebDAV's own properties are computed, so they cannot be set.
fn is_protected(property: Node<'_, '_>) -> bool {
    property.tag_name().namespace() == Some(xml::DAV)
}

/// Returns these properties after the changes.
fn changed(before: &str, changes: &[(bool, Node<'_, '_>)]) -> Option<String> {
    let whole = whole(before);
    let stored = xml::parse(whole.as_bytes()).ok()?;
    let mut properties: Vec<_> = stored.root_element().children().filter(Node::is_element).map(written).collect();
    for (sets, property) in changes {
        let property = written(*property);
        properties.retain(|(name, _)| *name != property.0);
        if *sets {
            properties.push(property);
        }
    }
    Some(properties.into_iter().map(|(_, text)| text).collect())
}

/// Returns the name of a property, and its text.
fn written(property: Node<'_, '_>) -> ((String, String), String) {
    let (name, mut text) = (property.tag_name(), String::new());
    xml::write(property, &mut text);
    ((name.namespace().unwrap_or_default().to_owned(), name.name().to_owned()), text)
}

fn whole(properties: &str) -> String {
    format!("<p>{properties}</p>")
}

fn status_of(errno: Errno) -> u16 {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::TOOBIG | Errno::RANGE => 507,
        Errno::NOTSUP | Errno::PERM | Errno::ACCESS | Errno::ISDIR | Errno::ROFS => 403,
        Errno::LOOP | Errno::MLINK => 403, // a link, on Linux or on FreeBSD
        _ => 500,
    }
}

/// Returns the response to PROPPATCH (section 13).
fn described<'a, 'i: 'a>(href: &str, properties: impl Iterator<Item = (Node<'a, 'i>, u16)>) -> String {
    let mut text = format!("{START}<D:response><D:href>{}</D:href>", crate::escape_html(href));
    for (property, status) in properties {
        text.push_str("<D:propstat><D:prop>");
        xml::write_name(property, &mut text);
        let reason = StatusCode::from_u16(status).ok().and_then(crate::words::reason).unwrap_or_default();
        text.push_str(&format!("</D:prop><D:status>HTTP/1.1 {status} {reason}</D:status></D:propstat>"));
    }
    text + "</D:response>\n" + END
}
